"""Go through every route with several users on one server: what is one's own, nobody else sees."""

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from tests.server.running import RunningServer, running, wait_for
from tests.server.users.identities import token_of

CONFIG = {"ServerApp": {"identity_provider_class": "tests.server.users.identities.UserTokens"}}
PATH = {"PYTHONPATH": str(Path(__file__).parents[3])}
# Words that Ann writes, and that no answer to another user may contain.
SECRET = "heliotrope"
KERNEL = {"X-Mlx-Notebook-Kernel": "kernel-of-ann"}
GENERATION = {"model": "tiny-chat", "max_tokens": 2}
HI = [{"role": "user", "content": "Hi"}]
CHAT = {**GENERATION, "messages": HI}
MODEL = {"model": "tiny-chat"}
NO_MODEL = {"model": "nonesuch"}


class Case(NamedTuple):
    """How a route is tried.

    `thing` is the kind of object that the path or the body names as `ID`. An answer for Ann's must
    be the one for an id that nobody has. Without it, the answer must not contain anything of Ann's,
    and if `shows` is set, Ann's own must.
    """

    path: str
    body: Any = None
    thing: str = ""
    shows: bool = False


RERANK = {"model": "tiny-chat", "query": "Hi", "documents": ["Hi"]}
RESPONSE = {"model": "tiny-chat", "max_output_tokens": 2, "store": False}
AFTER = {**RESPONSE, "input": "And?", "previous_response_id": "ID"}
REFERENCE = {**RESPONSE, "input": [{"type": "item_reference", "id": "ID"}, *HI]}

COMPACT = {"model": "tiny-chat", "max_output_tokens": 2}
WITHIN = {**RESPONSE, "input": "And?", "conversation": "ID"}

# The text of a PDF, which every model takes.
PAGES = {"pages_as": "text"}
FILE_IN_CHAT = {
    "model": "tiny-chat",
    "messages": [
        {"role": "user", "content": [{"type": "file", "file": {"file_id": "ID"}, **PAGES}]}
    ],
}
FILE_IN_INPUT = {
    **RESPONSE,
    "input": [{"role": "user", "content": [{"type": "input_file", "file_id": "ID", **PAGES}]}],
}
FILE_SOURCE = {"type": "file", "file_id": "ID"}
FILE_IN_MESSAGE = {
    **CHAT,
    "messages": [{"role": "user", "content": [{"type": "document", "source": FILE_SOURCE}]}],
}
BATCH = {"endpoint": "/v1/completions", "completion_window": "24h"}
TOPIC = {"metadata": {"topic": SECRET}}
MESSAGE = {"custom_id": SECRET, "params": CHAT}
MESSAGE_BATCHES = "v1/messages/batches"
CONVERSATION = "mlx/conversations/([A-Za-z0-9_-]{1,64})/?"
# Every method of every route of `routes.py`.
CASES: dict[tuple[str, str], list[Case]] = {
    ("GET", "v1/chat/completions/?"): [
        Case("v1/chat/completions", shows=True),
        Case("v1/chat/completions?after=ID", thing="completion"),
        Case(f"v1/chat/completions?metadata[topic]={SECRET}", shows=True),
    ],
    ("POST", "v1/chat/completions/?"): [
        Case("v1/chat/completions", CHAT),
        Case("v1/chat/completions", FILE_IN_CHAT, thing="file"),
    ],
    ("GET", "v1/chat/completions/([^/]+)/?"): [
        Case("v1/chat/completions/ID", thing="completion"),
        Case("v1/chat/completions/ID", thing="response"),
    ],
    ("POST", "v1/chat/completions/([^/]+)/?"): [
        Case("v1/chat/completions/ID", {"metadata": {"topic": "mine"}}, thing="completion")
    ],
    ("DELETE", "v1/chat/completions/([^/]+)/?"): [
        Case("v1/chat/completions/ID", thing="completion")
    ],
    ("GET", "v1/chat/completions/([^/]+)/messages/?"): [
        Case("v1/chat/completions/ID/messages", thing="completion"),
        Case("v1/chat/completions/ID/messages?after=x", thing="completion"),
    ],
    ("POST", "v1/responses/?"): [
        Case("v1/responses", {**RESPONSE, "input": "Hi"}),
        Case("v1/responses", AFTER, thing="response"),
        Case("v1/responses", REFERENCE, thing="item"),
        Case("v1/responses", WITHIN, thing="stored_conversation"),
        Case("v1/responses", FILE_IN_INPUT, thing="file"),
    ],
    ("POST", "v1/responses/input_tokens/?"): [
        Case("v1/responses/input_tokens", AFTER, thing="response"),
        Case("v1/responses/input_tokens", REFERENCE, thing="item"),
        Case("v1/responses/input_tokens", WITHIN, thing="stored_conversation"),
        Case("v1/responses/input_tokens", FILE_IN_INPUT, thing="file"),
    ],
    ("POST", "v1/responses/compact/?"): [
        Case("v1/responses/compact", {**COMPACT, "previous_response_id": "ID"}, thing="response"),
        Case("v1/responses/compact", {**COMPACT, "input": REFERENCE["input"]}, thing="item"),
    ],
    ("POST", "v1/conversations/?"): [
        Case("v1/conversations", {"metadata": {}}),
        Case("v1/conversations", {"items": [{"id": "ID"}]}, thing="item"),
        Case("v1/conversations", {"items": [{"id": "ID"}]}, thing="stored_item"),
    ],
    ("GET", "v1/conversations/([^/]+)/?"): [
        Case("v1/conversations/ID", thing="stored_conversation"),
        Case("v1/conversations/ID", thing="response"),
    ],
    ("POST", "v1/conversations/([^/]+)/?"): [
        Case("v1/conversations/ID", {"metadata": {}}, thing="stored_conversation")
    ],
    ("DELETE", "v1/conversations/([^/]+)/?"): [
        Case("v1/conversations/ID", thing="stored_conversation"),
        Case("v1/conversations/ID", thing="response"),
    ],
    ("GET", "v1/conversations/([^/]+)/items/?"): [
        Case("v1/conversations/ID/items", thing="stored_conversation")
    ],
    ("POST", "v1/conversations/([^/]+)/items/?"): [
        Case("v1/conversations/ID/items", {"items": HI}, thing="stored_conversation")
    ],
    ("GET", "v1/conversations/([^/]+)/items/([^/]+)/?"): [
        Case("v1/conversations/ID/items/msg_x", thing="stored_conversation")
    ],
    ("DELETE", "v1/conversations/([^/]+)/items/([^/]+)/?"): [
        Case("v1/conversations/ID/items/msg_x", thing="stored_conversation")
    ],
    ("GET", "v1/responses/([^/]+)/?"): [
        Case("v1/responses/ID", thing="response"),
        Case("v1/responses/ID", thing="completion"),
        Case("v1/responses/ID?stream=true", thing="background"),
        Case("v1/responses/ID?stream=true&starting_after=0", thing="background"),
    ],
    ("DELETE", "v1/responses/([^/]+)/?"): [
        Case("v1/responses/ID", thing="response"),
        Case("v1/responses/ID", thing="background"),
    ],
    ("POST", "v1/responses/([^/]+)/cancel/?"): [
        Case("v1/responses/ID/cancel", thing="response"),
        Case("v1/responses/ID/cancel", thing="background"),
    ],
    ("GET", "v1/responses/([^/]+)/input_items/?"): [
        Case("v1/responses/ID/input_items", thing="response"),
        Case("v1/responses/ID/input_items?after=x", thing="response"),
    ],
    ("POST", "v1/messages/?"): [
        Case("v1/messages", CHAT),
        Case("v1/messages", FILE_IN_MESSAGE, thing="file"),
    ],
    ("POST", "v1/messages/count_tokens/?"): [
        Case("v1/messages/count_tokens", CHAT),
        Case("v1/messages/count_tokens", FILE_IN_MESSAGE, thing="file"),
    ],
    ("POST", "v1/completions/?"): [Case("v1/completions", {**GENERATION, "prompt": "Hi"})],
    ("GET", "mlx/completions/inline/?"): [Case("mlx/completions/inline")],
    ("POST", "mlx/completions/inline/?"): [
        Case("mlx/completions/inline", {"model": "tiny-chat", "prefix": "Hi", "suffix": "."})
    ],
    ("POST", "v1/embeddings/?"): [Case("v1/embeddings", {"model": "tiny-chat", "input": "Hi"})],
    # Their bodies are forms: what is no form is refused.
    ("POST", "v1/audio/speech/?"): [Case("v1/audio/speech", {"input": "Hi"})],
    ("POST", "v1/audio/transcriptions/?"): [Case("v1/audio/transcriptions", {})],
    ("POST", "v1/audio/translations/?"): [Case("v1/audio/translations", {})],
    # No model of this server ranks.
    ("POST", "v1/rerank/?"): [Case("v1/rerank", RERANK)],
    ("POST", "v2/rerank/?"): [Case("v2/rerank", RERANK)],
    ("POST", "tokenize/?"): [Case("tokenize", {"model": "tiny-chat", "messages": HI})],
    ("POST", "detokenize/?"): [Case("detokenize", {"model": "tiny-chat", "tokens": [60, 61]})],
    ("GET", "v1/batches/?"): [
        Case("v1/batches", shows=True),
        Case("v1/batches?after=ID", thing="batch"),
    ],
    ("POST", "v1/batches/?"): [
        Case("v1/batches", {**BATCH, "input_file_id": "ID"}, thing="file"),
    ],
    ("GET", "v1/batches/([^/]+)/?"): [Case("v1/batches/ID", thing="batch")],
    ("POST", "v1/batches/([^/]+)/cancel/?"): [Case("v1/batches/ID/cancel", thing="batch")],
    ("GET", f"{MESSAGE_BATCHES}/?"): [
        Case(MESSAGE_BATCHES),
        Case(f"{MESSAGE_BATCHES}?after_id=ID", thing="message_batch"),
    ],
    ("POST", f"{MESSAGE_BATCHES}/?"): [Case(MESSAGE_BATCHES, {"requests": []})],
    ("GET", f"{MESSAGE_BATCHES}/([^/]+)/?"): [Case(f"{MESSAGE_BATCHES}/ID", thing="message_batch")],
    ("DELETE", f"{MESSAGE_BATCHES}/([^/]+)/?"): [
        Case(f"{MESSAGE_BATCHES}/ID", thing="message_batch")
    ],
    ("POST", f"{MESSAGE_BATCHES}/([^/]+)/cancel/?"): [
        Case(f"{MESSAGE_BATCHES}/ID/cancel", thing="message_batch")
    ],
    ("GET", f"{MESSAGE_BATCHES}/([^/]+)/results/?"): [
        Case(f"{MESSAGE_BATCHES}/ID/results", thing="message_batch")
    ],
    ("GET", "v1/files/?"): [
        Case("v1/files", shows=True),
        Case("v1/files?after=ID", thing="file"),
    ],
    ("POST", "v1/files/?"): [Case("v1/files", {"purpose": "batch"})],
    ("GET", "v1/files/([^/]+)/?"): [Case("v1/files/ID", thing="file")],
    ("DELETE", "v1/files/([^/]+)/?"): [Case("v1/files/ID", thing="file")],
    ("GET", "v1/files/([^/]+)/content/?"): [Case("v1/files/ID/content", thing="file")],
    # Shows the system message that a user has saved for the model.
    ("POST", "apply-template/?"): [
        Case("apply-template", {"model": "tiny-chat", "messages": HI}, shows=True)
    ],
    # These show which model is the default: the one that a user has used last.
    ("GET", "v1/models/?"): [Case("v1/models")],
    ("GET", "v1/models/(.+)"): [Case("v1/models/tiny-chat")],
    ("GET", r"v1/openapi\.json"): [Case("v1/openapi.json")],
    ("GET", "health/?"): [Case("health")],
    ("GET", "mlx/conversations/?"): [
        Case("mlx/conversations", shows=True),
        Case(f"mlx/conversations?notebook={SECRET}", shows=True),
    ],
    ("GET", CONVERSATION): [Case("mlx/conversations/ID", thing="conversation")],
    # With the id of another's, it is one of the user's own.
    ("PUT", CONVERSATION): [
        Case("mlx/conversations/mine", {"notebook": "", "title": "Mine", "content": {}})
    ],
    ("PATCH", CONVERSATION): [
        Case("mlx/conversations/ID", {"title": "Mine"}, thing="conversation")
    ],
    ("DELETE", CONVERSATION): [Case("mlx/conversations/ID", thing="conversation")],
    ("GET", "mlx/status/?"): [Case("mlx/status", shows=True)],
    ("GET", "mlx/events/?"): [Case("mlx/events", shows=True)],
    ("GET", "mlx/models/?"): [Case("mlx/models")],
    # What these change is the same for all, and their answers name the model only.
    ("POST", "mlx/models/load/?"): [Case("mlx/models/load", MODEL)],
    ("POST", "mlx/models/unload/?"): [Case("mlx/models/unload", NO_MODEL)],
    ("POST", "mlx/models/download/?"): [Case("mlx/models/download", MODEL)],
    ("POST", "mlx/models/cancel/?"): [Case("mlx/models/cancel", MODEL)],
    ("POST", "mlx/models/pin/?"): [Case("mlx/models/pin", NO_MODEL)],
    ("POST", "mlx/models/keep/?"): [Case("mlx/models/keep", {})],
    ("GET", "mlx/models/(.+)/settings/?"): [Case("mlx/models/tiny-chat/settings", shows=True)],
    ("PUT", "mlx/models/(.+)/settings/?"): [Case("mlx/models/tiny-chat/settings", {})],
    ("POST", "mlx/cancel/([^/]+)"): [Case("mlx/cancel/ID", {}, thing="request")],
    ("GET", "mlx/settings/?"): [Case("mlx/settings")],
    ("PATCH", "mlx/settings/?"): [Case("mlx/settings", {})],
    ("GET", "mlx/jobs/?"): [Case("mlx/jobs", shows=True)],
    ("POST", "mlx/jobs/?"): [Case("mlx/jobs", {"kind": "merge", "model": "a+b", "name": "c"})],
    ("GET", "mlx/jobs/([^/]+)/?"): [Case("mlx/jobs/ID", thing="job")],
    ("GET", "mlx/jobs/([^/]+)/events/?"): [Case("mlx/jobs/ID/events", thing="job")],
    ("POST", "mlx/jobs/([^/]+)/cancel/?"): [Case("mlx/jobs/ID/cancel", {}, thing="job")],
    ("GET", "mlx/usage/?"): [Case("mlx/usage")],
    ("GET", "mlx/metrics/?"): [Case("mlx/metrics")],
    ("GET", "mlx/traces/?"): [
        Case("mlx/traces", shows=True),
        Case(f"mlx/traces?search={SECRET}", shows=True),
        Case("mlx/traces?user=ann"),
    ],
    ("GET", "mlx/traces/([^/]+)"): [
        Case("mlx/traces/ID", thing="completion"),
        Case("mlx/traces/ID", thing="request"),
        Case("mlx/traces/ID?user=ann", thing="completion"),
    ],
}
OLLAMA = {"model": "tiny-chat", "stream": False, "options": {"num_predict": 2}}
for name, cases in {
    "chat": [Case("mlx/ollama/api/chat", {**OLLAMA, "messages": HI})],
    "generate": [Case("mlx/ollama/api/generate", {**OLLAMA, "prompt": "Hi"})],
    "embed": [Case("mlx/ollama/api/embed", {"model": "tiny-chat", "input": "Hi"})],
    "embeddings": [Case("mlx/ollama/api/embeddings", {"model": "tiny-chat", "prompt": "Hi"})],
    # Shows the system message that a user has saved for the model.
    "show": [Case("mlx/ollama/api/show", MODEL, shows=True)],
    "pull": [Case("mlx/ollama/api/pull", MODEL)],
}.items():
    CASES["POST", f"mlx/ollama/api/{name}/?"] = cases
for name in ("tags", "ps", "version"):
    CASES["GET", f"mlx/ollama/api/{name}/?"] = [Case(f"mlx/ollama/api/{name}")]
# These answer that the server does not do it.
for name in ("create/?", "copy/?", "delete/?", "push/?", "blobs(?:/.*)?"):
    for verb in ("POST", "DELETE"):
        path = f"mlx/ollama/api/{name.partition('/')[0].partition('(')[0]}"
        CASES[verb, f"mlx/ollama/api/{name}"] = [Case(path, NO_MODEL)]
LM_STUDIO = "mlx/lmstudio/api"
OTHER = {"model": "org/anns-own"}
ASKED = {"model": "tiny-chat", "input": "Hi", "max_output_tokens": 2}
CASES |= {
    ("POST", f"{LM_STUDIO}/v1/chat/?"): [
        Case(f"{LM_STUDIO}/v1/chat", ASKED),
        Case(f"{LM_STUDIO}/v1/chat", {**ASKED, "previous_response_id": "ID"}, thing="response"),
    ],
    ("GET", f"{LM_STUDIO}/v1/models/?"): [Case(f"{LM_STUDIO}/v1/models")],
    ("POST", f"{LM_STUDIO}/v1/models/load/?"): [Case(f"{LM_STUDIO}/v1/models/load", MODEL)],
    ("POST", f"{LM_STUDIO}/v1/models/unload/?"): [
        Case(f"{LM_STUDIO}/v1/models/unload", {"instance_id": "nonesuch"})
    ],
    ("POST", f"{LM_STUDIO}/v1/models/download/?"): [Case(f"{LM_STUDIO}/v1/models/download", MODEL)],
    ("GET", f"{LM_STUDIO}/v1/models/download/status/?"): [
        Case(f"{LM_STUDIO}/v1/models/download/status")
    ],
    ("GET", f"{LM_STUDIO}/v1/models/download/status/([^/]+)/?"): [
        Case(f"{LM_STUDIO}/v1/models/download/status/ID", thing="download")
    ],
    ("POST", f"{LM_STUDIO}/v0/chat/completions/?"): [
        Case(f"{LM_STUDIO}/v0/chat/completions", CHAT)
    ],
    ("POST", f"{LM_STUDIO}/v0/completions/?"): [
        Case(f"{LM_STUDIO}/v0/completions", {"model": "tiny-chat", "prompt": "Hi", "max_tokens": 2})
    ],
    ("POST", f"{LM_STUDIO}/v0/embeddings/?"): [
        Case(f"{LM_STUDIO}/v0/embeddings", {"model": "tiny-chat", "input": "Hi"})
    ],
    ("GET", f"{LM_STUDIO}/v0/models/?"): [Case(f"{LM_STUDIO}/v0/models")],
    ("GET", f"{LM_STUDIO}/v0/models/(.+)"): [Case(f"{LM_STUDIO}/v0/models/tiny-chat")],
}
METHODS = ("get", "post", "put", "patch", "delete")
# These answer that there is no such route.
UNKNOWN = (
    *("v1/messages/.+", "mlx/ollama/api(?:/.*)?", "mlx/lmstudio/api/v[01](?:/.*)?"),
    "(?:v1|v2/rerank|mlx)(?:/.*)?",
)
TRIED = [
    pytest.param(method, case, id=f"{method} {case.path} {case.thing}".strip())
    for (method, _), cases in CASES.items()
    for case in cases
]


class Classroom:
    """A server with what Ann has on it, and a client for each user."""

    def __init__(self, server: RunningServer, clients: dict[str, httpx.Client]) -> None:
        self.server = server
        self.clients = clients
        self.ann = ann = clients["ann"]
        said = [{"role": "user", "content": f"The word is {SECRET}."}]
        ann.put("mlx/models/tiny-chat/settings", json={"system": f"Say {SECRET}."})
        stored = {**CHAT, "messages": said, "store": True, "metadata": {"topic": SECRET}}
        asked = {"model": "tiny-chat", "input": said, "max_output_tokens": 2}
        background = {**asked, "background": True}
        response = self.made("v1/responses", asked)
        saved = {"notebook": SECRET, "title": SECRET, "content": {"text": SECRET}}
        ann.put("mlx/conversations/anns-own", json=saved).raise_for_status()
        kept = self.made("v1/conversations", {"items": said, "metadata": {"topic": SECRET}})["id"]
        items = ann.get(f"v1/conversations/{kept}/items").raise_for_status().json()["data"]
        self.ids = {
            "stored_conversation": kept,
            "stored_item": items[0]["id"],
            "conversation": "anns-own",
            "file": (file := self._uploaded()),
            "batch": self.made("v1/batches", BATCH | {"input_file_id": file} | TOPIC)["id"],
            "download": self.made(f"{LM_STUDIO}/v1/models/download", {"model": "org/anns"})[
                "job_id"
            ],
            "message_batch": self.made(MESSAGE_BATCHES, {"requests": [MESSAGE]})["id"],
            "completion": self.made("v1/chat/completions", stored, KERNEL)["id"],
            "response": response["id"],
            "background": self.made("v1/responses", background)["id"],
            "item": response["output"][0]["id"],
            "job": self.made("mlx/jobs", {"kind": "convert", "model": "tiny-chat", "name": SECRET})[
                "id"
            ],
        }
        ann.post(f"mlx/jobs/{self.ids['job']}/cancel", json={"keep": False}).raise_for_status()
        wait_for(self._job_has_ended, 60)
        wait_for(lambda: self.status_of_background() not in ("queued", "in_progress"), 60)
        # So her default model is another one.
        self.made("v1/completions", {"model": "org/other", "prompt": SECRET, "max_tokens": 1})
        self._pool = ThreadPoolExecutor(1)
        self._start()

    def made(self, path: str, body: Any, headers: dict[str, str] | None = None) -> Any:
        return self.ann.post(path, json=body, headers=headers).raise_for_status().json()

    def _uploaded(self) -> str:
        line = {"custom_id": SECRET, "method": "POST", "url": "/v1/completions", "body": CHAT}
        form = {"file": (f"{SECRET}.txt", json.dumps(line)), "purpose": (None, "batch")}
        return str(self.ann.post("v1/files", files=form).raise_for_status().json()["id"])

    def status_of_background(self) -> str:
        response = self.ann.get(f"v1/responses/{self.ids['background']}").json()
        return str(response["status"])

    def _job_has_ended(self) -> bool:
        job = self.ann.get(f"mlx/jobs/{self.ids['job']}").raise_for_status().json()["job"]
        return job["state"] in ("stopped", "finished", "failed")

    def _start(self) -> None:
        """Start a request of Ann's that runs for a while."""
        body = {"model": "tiny-chat", "prompt": SECRET, "max_tokens": 8000, "ignore_eos": True}
        self.answer = self._pool.submit(self.ann.post, "v1/completions", json=body)
        self.ids["request"] = wait_for(self._running, 60)

    def _running(self) -> str | None:
        requests = self.ann.get("mlx/status").json()["requests"]
        return next((str(each["id"]) for each in requests), None)

    def keep_running(self) -> None:
        """Start it again if it has ended by itself."""
        if self.answer.done():
            assert self.answer.result().status_code == 200
            self._start()

    def restart(self) -> None:
        """Start it again, so that it does not end by itself in the next seconds."""
        self._cancel()
        self._start()

    def close(self) -> None:
        self._cancel()
        self._pool.shutdown()

    def _cancel(self) -> None:
        self.ann.post(f"mlx/cancel/{self.ids['request']}")
        # The second status: it was cancelled.
        assert self.answer.result(60).status_code in (200, 499)


@pytest.fixture(scope="module")
def classroom(models_dir: Path) -> Iterator[Classroom]:
    limits = {"ann": {"jobs": True, "download": True}}
    settings = {"models_dirs": [str(models_dir)], "user_limits": limits}
    config = {**CONFIG, "MlxNotebookApp": settings}
    with running(config=config, env=PATH) as server:
        clients = {name: client_of(server, name) for name in ("ann", "bob", "teacher")}
        clients["owner"] = server.client
        made = Classroom(server, clients)
        yield made
        made.close()
        for client in clients.values():
            client.close()


def client_of(server: RunningServer, name: str) -> httpx.Client:
    headers = {"Authorization": f"Bearer {token_of(name)}"}
    return httpx.Client(base_url=server.url, headers=headers, trust_env=False, timeout=60)


def answer_of(client: httpx.Client, method: str, case: Case, id: str = "") -> tuple[int, str]:
    """The status and the text of an answer; of a stream without an end, the first event."""
    path = case.path.replace("ID", id)
    body = json.loads(json.dumps(case.body).replace("ID", id))
    options = {} if case.body is None else {"json": body}
    if path != "mlx/events":
        answer = client.request(method, path, **options)
        return answer.status_code, answer.text
    with client.stream(method, path) as stream:
        return stream.status_code, next(line for line in stream.iter_lines() if line)


def test_every_method_of_every_route_is_tried() -> None:
    from tornado.web import RequestHandler

    from mlx_notebook.server.api.routing.routes import ROUTES

    methods = {
        (method.upper(), pattern)
        for pattern, handler in ROUTES
        for method in METHODS
        if getattr(handler, method) is not RequestHandler._unimplemented_method
    }
    assert {key for key in methods if key[1] not in UNKNOWN} == set(CASES)


@pytest.mark.parametrize("who", ["bob", "teacher", "owner"])
@pytest.mark.parametrize(("method", "case"), TRIED)
def test_nobody_sees_or_changes_what_is_anothers(
    classroom: Classroom, method: str, case: Case, who: str
) -> None:
    classroom.keep_running()
    client = classroom.clients[who]
    if not case.thing:
        status, text = answer_of(client, method, case)
        assert status < 500, text
        assert SECRET not in text.replace(f"search={SECRET}", "")
        assert not [id for id in classroom.ids.values() if id in text]
        if case.shows:
            own = answer_of(classroom.ann, method, case)[1]
            assert SECRET in own or classroom.ids["request"] in own
        return
    id = classroom.ids[case.thing]
    nobodys = id[:-12] + "0" * 12
    status, text = answer_of(client, method, case, id)
    expected, about_nobodys = answer_of(client, method, case, nobodys)
    assert status in (400, 403, 404), text
    # Anthropic's errors name their request.
    answers = [re.sub('"req_[^"]*"', '""', each) for each in (text, about_nobodys)]
    assert (status, answers[0].replace(id, nobodys)) == (expected, answers[1])


@pytest.mark.parametrize("thing", ["completion", "response", "background"])
def test_what_others_tried_to_delete_is_still_there(classroom: Classroom, thing: str) -> None:
    path = "v1/chat/completions" if thing == "completion" else "v1/responses"
    others = [classroom.clients[name] for name in ("bob", "teacher", "owner")]
    for client in others:
        assert client.delete(f"{path}/{classroom.ids[thing]}").status_code == 404
    found = classroom.ann.get(f"{path}/{classroom.ids[thing]}").raise_for_status().json()
    assert found["id"] == classroom.ids[thing]


def test_the_model_used_last_is_a_users_own(classroom: Classroom) -> None:
    def default(name: str) -> set[str]:
        client = classroom.clients[name]
        (listed,) = (m["id"] for m in client.get("mlx/models").json()["models"] if m["default"])
        (openai,) = (m["id"] for m in client.get("v1/models").json()["data"] if m["default"])
        shown = client.get("mlx/status").json()["default_model"]
        text = client.post("v1/completions", json={"prompt": "Hi", "max_tokens": 1}).json()
        return {listed, openai, shown, text["model"]}

    classroom.made("v1/completions", {"model": "org/other", "prompt": "Hi", "max_tokens": 1})
    assert default("ann") == {"org/other"}
    assert default("bob") == {"tiny-chat"}


def test_models_that_a_notebook_uses_are_its_users_own(classroom: Classroom) -> None:
    def kept(name: str) -> list[str]:
        answer = classroom.clients[name].post("mlx/models/keep", json={}, headers=KERNEL)
        return list(answer.raise_for_status().json()["models"])

    assert kept("ann") == ["tiny-chat"]
    assert kept("bob") == kept("teacher") == []


def test_a_status_shows_ones_own_requests_and_counts_those_of_all(classroom: Classroom) -> None:
    classroom.restart()
    of = {name: client.get("mlx/status").json() for name, client in classroom.clients.items()}
    assert [request["own"] for request in of["ann"]["requests"]] == [True]
    assert of["bob"]["requests"] == []
    for status in of.values():
        assert status["queue"]["running"] + status["queue"]["waiting"] == 1
    for admin in ("teacher", "owner"):
        (request,) = of[admin]["requests"]
        assert request["own"] is False
        assert classroom.clients[admin].post(f"mlx/cancel/{request['id']}").status_code == 404


def test_only_an_admin_sees_the_usage_of_others(classroom: Classroom) -> None:
    of = {name: client.get("mlx/usage").json() for name, client in classroom.clients.items()}
    for name in ("ann", "bob"):
        assert [row["user"] for row in of[name]["users"]] == [name]
        assert of[name]["all_users"] is False
        assert of[name]["totals"]["requests"] >= 4
    for admin in ("teacher", "owner"):
        rows = {row["user"]: row for row in of[admin]["users"]}
        assert of[admin]["all_users"] is True
        assert {"ann", "bob"} <= set(rows)
        assert rows["ann"]["requests"] >= 4
        assert rows["ann"]["prompt_tokens"] > 20
        assert rows["ann"]["first_token"] > 0
    before = of["teacher"]["totals"]["refused"]
    assert classroom.clients["bob"].get("mlx/metrics").status_code == 403
    assert classroom.clients["bob"].get("mlx/usage").json()["users"][0]["refused"] >= 1
    assert classroom.clients["teacher"].get("mlx/usage").json()["totals"]["refused"] == before + 1


def test_metrics_name_users_for_an_admin_only(classroom: Classroom) -> None:
    line = 'mlx_notebook_user_requests_total{user="ann"}'
    assert line in classroom.clients["teacher"].get("mlx/metrics").raise_for_status().text
    # Jupyter shows these to everyone who is logged in.
    open_to_all = classroom.clients["bob"].get("metrics").raise_for_status().text
    assert "mlx_notebook_requests_total" in open_to_all
    assert '"ann"' not in open_to_all


def test_an_admin_changes_how_a_model_is_loaded_for_all(classroom: Classroom) -> None:
    path = "mlx/models/long/settings"
    teacher, ann, bob = (classroom.clients[name] for name in ("teacher", "ann", "bob"))
    refused = bob.put(path, json={"context_limit": 64})
    assert refused.status_code == 403
    assert refused.json()["error"]["param"] == "context_limit"
    saved = {"context_limit": 2048, "top_p": 0.5}
    assert teacher.put(path, json=saved).raise_for_status().json()["saved"] == saved
    assert teacher.get(path).json()["settings"] == saved
    assert bob.put(path, json={"top_k": 7}).raise_for_status().json()["saved"] == {"top_k": 7}
    assert bob.get(path).json()["settings"] == {"context_limit": 2048, "top_k": 7}
    assert ann.get(path).json()["settings"] == {"context_limit": 2048}
    assert teacher.put(path, json={}).raise_for_status().json()["settings"] == {}
    assert bob.get(path).json()["settings"] == {"top_k": 7}


def test_only_an_admin_changes_settings_of_the_server(classroom: Classroom) -> None:
    teacher, bob = (classroom.clients[name] for name in ("teacher", "bob"))
    for client, may in ((teacher, True), (bob, False)):
        settings = client.get("mlx/settings").raise_for_status().json()["settings"]
        of = {setting["name"]: setting for setting in settings}
        assert of["idle_unload_minutes"]["changeable"] is may
        assert (of["models_dirs"]["value"] is not None) is may
    refused = bob.patch("mlx/settings", json={"idle_unload_minutes": 1})
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "setting_not_allowed")
    teacher.patch("mlx/settings", json={"idle_unload_minutes": None}).raise_for_status()


def test_an_admin_reads_texts_only_where_the_deployment_says_so() -> None:
    config = {**CONFIG, "MlxNotebookApp": {"admin_reads_texts": True, "metrics_users": 1}}
    with running(config=config, env=PATH) as server:
        clients = {name: client_of(server, name) for name in ("ann", "bob", "cem", "teacher")}
        body = {**CHAT, "messages": [{"role": "user", "content": SECRET}]}
        id = clients["ann"].post("v1/chat/completions", json=body).raise_for_status().json()["id"]
        for path in ("mlx/traces", f"mlx/traces/{id}"):
            found = clients["teacher"].get(path, params={"user": "ann"}).raise_for_status()
            assert SECRET in found.text
            refused = clients["bob"].get(path, params={"user": "ann"})
            assert refused.status_code == 403
            assert refused.json()["error"]["code"] == "texts_are_private"
        assert clients["teacher"].get("mlx/traces").json()["data"] == []
        # Everyone is told.
        assert clients["bob"].get("mlx/usage").json()["admin_reads_texts"] is True
        for name in ("bob", "cem"):
            clients[name].post("v1/chat/completions", json=CHAT).raise_for_status()
        text = clients["teacher"].get("mlx/metrics").text
        assert 'mlx_notebook_user_requests_total{user="ann"} 1.0' in text
        assert 'mlx_notebook_user_requests_total{user="other"} 2.0' in text
        assert 'user="bob"' not in text
        for client in clients.values():
            client.close()
