"""The limits of users on a real server, as official clients see them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest

from tests.server.running import RunningServer, running, wait_for
from tests.server.users.identities import token_of
from tests.tiny_models.models import qwen3

_CONFIG = {
    "ServerApp": {"identity_provider_class": "tests.server.users.identities.UserTokens"},
    "MlxNotebookApp": {
        "user_limits": {
            "*": {"use": ["tiny-*", "m-one", "m-two"], "swap": ["m-two"]},
            "group:class": {"requests_in_flight": 1},
            "dora": {"tokens_per_minute": 60},
            "emil": {"load": ["m-*"]},
            "fay": {"unload": ["tiny-chat"], "pin": True, "download": ["org/*"]},
        },
        "max_resident": 1,
        "memory_budget_bytes": 2**31,
        "model_aliases": {"m-one": "local/one", "m-two": "local/two"},
    },
}
_PROMPT = {"model": "tiny-chat", "prompt": "Hi", "max_tokens": 2}
_LONG = {"model": "tiny-chat", "prompt": "Hi", "max_tokens": 3000, "ignore_eos": True}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("one", "two", "three")):
        qwen3(folder / "local" / name, seed=seed)
    config = {**_CONFIG["MlxNotebookApp"], "models_dirs": [str(folder)]}
    env = {"PYTHONPATH": str(Path(__file__).parents[3])}
    with running(config={**_CONFIG, "MlxNotebookApp": config}, env=env) as server:
        yield server


def client_of(server: RunningServer, name: str) -> httpx.Client:
    headers = {"Authorization": f"Bearer {token_of(name)}"}
    return httpx.Client(base_url=server.url, headers=headers, trust_env=False, timeout=60)


def openai_of(server: RunningServer, name: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=server.openai_url, api_key=token_of(name), max_retries=0)


def runs(client: httpx.Client) -> Any:
    return [one for one in client.get("mlx/status").json()["requests"] if one["own"]]


def test_a_request_beyond_the_limit_gets_a_429_in_the_shape_of_each_api(
    shared: RunningServer,
) -> None:
    routes: dict[str, dict[str, Any]] = {
        "v1/chat/completions": {"messages": [{"role": "user", "content": "Hi"}]},
        "v1/completions": {"prompt": "Hi"},
        "v1/responses": {"input": "Hi"},
        "v1/responses/input_tokens": {"input": "Hi"},
        "v1/embeddings": {"input": "Hi"},
        "v1/rerank": {"query": "Hi", "documents": ["Hi"]},
        "tokenize": {"content": "Hi"},
        "apply-template": {"messages": [{"role": "user", "content": "Hi"}]},
        "mlx/models/load": {},
    }
    client = anthropic.Anthropic(base_url=shared.url, api_key=token_of("ann"), max_retries=0)
    with client_of(shared, "ann") as ann, client_of(shared, "bob") as bob, client:
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(ann.post, "v1/completions", json=_LONG)
            (running_one,) = wait_for(lambda: runs(ann), 60)
            for route, body in routes.items():
                refused = ann.post(route, json={"model": "tiny-chat", **body})
                assert refused.status_code == 429, route
                error = refused.json()["error"]
                assert (error["type"], error["code"]) == ("requests", "rate_limit_exceeded")
                assert "as you may have: 1" in error["message"]
                assert refused.headers["retry-after"] == "1"
                assert refused.headers["x-ratelimit-limit-requests"] == "1"
                assert refused.headers["x-ratelimit-remaining-requests"] == "0"
                assert refused.headers["x-ratelimit-reset-requests"] == "1s"
            with pytest.raises(anthropic.RateLimitError) as caught:
                client.messages.create(
                    model="tiny-chat",
                    max_tokens=2,
                    messages=[{"role": "user", "content": "Hi"}],
                )
            headers = caught.value.response.headers
            assert headers["anthropic-ratelimit-requests-limit"] == "1"
            assert headers["anthropic-ratelimit-requests-remaining"] == "0"
            assert "x-ratelimit-limit-requests" not in headers
            assert caught.value.response.json()["error"]["type"] == "rate_limit_error"
            # Another user of the same group has a limit of their own.
            assert bob.post("v1/completions", json=_PROMPT).status_code == 200
            ann.post(f"mlx/cancel/{running_one['id']}").raise_for_status()
            assert answer.result(60).status_code == 499
        assert ann.post("v1/completions", json=_PROMPT).status_code == 200


def test_a_background_response_is_in_flight_until_it_ends(shared: RunningServer) -> None:
    with openai_of(shared, "ann") as ann:
        response = ann.responses.create(
            model="tiny-chat", input="Hi", background=True, extra_body={"ignore_eos": True}
        )
        with pytest.raises(openai.RateLimitError, match="as you may have: 1"):
            ann.responses.create(model="tiny-chat", input="Hi")
        ann.responses.cancel(response.id)
        assert ann.responses.create(model="tiny-chat", input="Hi", max_output_tokens=2).id


def test_several_prompts_in_one_request_are_one_request(shared: RunningServer) -> None:
    with client_of(shared, "ann") as ann:
        body = {**_PROMPT, "prompt": ["One", "Two", "Three"], "echo": True}
        assert len(ann.post("v1/completions", json=body).raise_for_status().json()["choices"]) == 3


def test_tokens_a_minute_count_prompts_and_answers(shared: RunningServer) -> None:
    with openai_of(shared, "dora") as dora:
        first = dora.chat.completions.with_raw_response.create(
            model="tiny-chat",
            messages=[{"role": "user", "content": "Tell me about the sea."}],
            max_tokens=60,
            extra_body={"ignore_eos": True},
        )
        assert first.headers["x-ratelimit-limit-tokens"] == "60"
        assert first.headers["x-ratelimit-remaining-tokens"] == "60"
        assert first.headers["x-ratelimit-reset-tokens"] == "0s"
        assert "x-ratelimit-limit-requests" not in first.headers
        usage = first.parse().usage
        assert usage is not None
        assert usage.total_tokens > 70
        with pytest.raises(openai.RateLimitError, match="60 tokens a minute") as caught:
            dora.embeddings.create(model="tiny-chat", input="Hi")
        assert caught.value.code == "rate_limit_exceeded"
        assert caught.value.type == "tokens"
        headers = caught.value.response.headers
        assert headers["x-ratelimit-remaining-tokens"] == "0"
        debt = usage.total_tokens - 60
        assert debt - 20 <= int(headers["retry-after"]) <= debt + 1
        with pytest.raises(openai.RateLimitError):
            dora.chat.completions.create(
                model="tiny-chat", messages=[{"role": "user", "content": "Hi"}], stream=True
            )


def test_without_limits_there_are_no_headers_about_them(shared: RunningServer) -> None:
    with client_of(shared, "gus") as gus:
        answer = gus.post("v1/completions", json=_PROMPT).raise_for_status()
        assert not [name for name in answer.headers if "ratelimit" in name]


def test_a_user_uses_only_the_models_that_they_may(shared: RunningServer) -> None:
    with openai_of(shared, "gus") as gus, openai_of(shared, "teacher") as teacher:
        for model in ("local/three", "local/three+x"):
            with pytest.raises((openai.PermissionDeniedError, openai.NotFoundError)) as caught:
                gus.chat.completions.create(
                    model=model, messages=[{"role": "user", "content": "Hi"}]
                )
        with pytest.raises(openai.PermissionDeniedError) as caught:
            gus.embeddings.create(model="local/three", input="Hi")
        assert caught.value.code == "permission_denied"
        assert caught.value.param == "model"
        assert "You may not use the model 'local/three'." in caught.value.message
        with pytest.raises(anthropic.PermissionDeniedError):
            anthropic.Anthropic(
                base_url=shared.url, api_key=token_of("gus"), max_retries=0
            ).messages.count_tokens(
                model="local/three", messages=[{"role": "user", "content": "Hi"}]
            )
        assert teacher.embeddings.create(model="local/three", input="Hi").data
        # So it is not listed either.
        with pytest.raises(openai.PermissionDeniedError):
            gus.models.retrieve("local/three")
        assert "local/three" not in {model.id for model in gus.models.list()}
        assert "local/three" in {model.id for model in teacher.models.list()}


def test_a_user_loads_and_swaps_only_the_models_that_they_may(shared: RunningServer) -> None:
    with client_of(shared, "emil") as emil, client_of(shared, "teacher") as teacher:
        teacher.post("mlx/models/load", json={"model": "tiny-chat"}).raise_for_status()
        # It is in memory, so it need not be loaded.
        assert emil.post("v1/completions", json=_PROMPT).status_code == 200
        # It is not, and only one model fits: the alias names what may be swapped in.
        refused = emil.post("v1/completions", json={**_PROMPT, "model": "m-one"})
        assert refused.status_code == 403
        assert "only in place of tiny-chat" in refused.json()["error"]["message"]
        assert emil.post("mlx/models/load", json={"model": "m-one"}).status_code == 403
        assert emil.post("mlx/models/load", json={"model": "m-two"}).status_code == 200
        refused = emil.post("v1/completions", json=_PROMPT)
        assert refused.status_code == 403
        assert "You may not load models into memory" in refused.json()["error"]["message"]
        teacher.post("mlx/models/load", json={"model": "tiny-chat"}).raise_for_status()


def test_models_are_pinned_unloaded_and_downloaded_by_those_who_may(
    shared: RunningServer,
) -> None:
    with (
        client_of(shared, "gus") as gus,
        client_of(shared, "fay") as fay,
        client_of(shared, "teacher") as teacher,
    ):
        teacher.post("mlx/models/load", json={"model": "tiny-chat"}).raise_for_status()
        model = {"model": "tiny-chat"}
        orders: list[tuple[str, dict[str, Any]]] = [
            ("pin", {**model, "pinned": False}),
            ("load", {**model, "pin": True}),
            ("unload", model),
            ("download", {"model": "org/none"}),
        ]
        for action, body in orders:
            refused = gus.post(f"mlx/models/{action}", json=body)
            assert refused.status_code == 403, action
            assert refused.json()["error"]["code"] == "permission_denied"
        assert fay.post("mlx/models/download", json={"model": "no/model"}).status_code == 403
        assert fay.post("mlx/models/pin", json={**model, "pinned": False}).status_code == 200
        assert fay.post("mlx/models/unload", json=model).status_code == 200
        teacher.post("mlx/models/load", json={"model": "local/three"}).raise_for_status()
        assert fay.post("mlx/models/unload", json={"model": "local/three"}).status_code == 403


def test_a_wrong_setting_ends_the_start_with_its_place() -> None:
    import subprocess
    import sys

    done = subprocess.run(
        [
            *(sys.executable, "-m", "mlx_notebook.server", "--port", "0"),
            '--MlxNotebookApp.user_limits={"ada": {"requests": 3}}',
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode != 0
    assert "MlxNotebookApp.user_limits: ['ada']: there is no limit 'requests'" in done.stderr
