"""Upstreams that fail: a stand-in whose model's name says what goes wrong."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.server.running import HELLO, RunningServer, running, wait_for
from tests.server.upstreams.stand_in import KEY, MODELS, StandIn, stand_in


@pytest.fixture(scope="module")
def odd() -> Iterator[StandIn]:
    with stand_in() as server:
        yield server


@pytest.fixture(scope="module")
def near(odd: StandIn) -> Iterator[RunningServer]:
    """A server with the stand-in as an upstream, and one that nobody can reach."""
    upstreams = {
        "odd": {
            "url": odd.url,
            "key_env": "ODD_KEY",
            "headers": {"x-team": "a-team-name"},
            "extra": ["top_k", "top_a", "structured_outputs"],
            "rename": {"max_tokens": "max_completion_tokens"},
        },
        "small": {
            "url": odd.url,
            "models": ["huge", "silent", "good"],
            "timeout": 1,
            "max_answer_bytes": 65536,
        },
        "single": {"url": odd.url, "max_requests": 1},
        "gone": {"url": "http://127.0.0.1:9/v1"},
        "keyless": {"url": odd.url, "key_env": "NOT_SET", "models": {"good": ["embeddings"]}},
    }
    settings = {"model_aliases": {"nick": "odd:good"}, "keep_alive_seconds": 0.5}
    config = {"MlxNotebookApp": {"upstreams": upstreams, **settings}}
    with running(config=config, env={"ODD_KEY": KEY}) as server:
        yield server


def error(response: httpx.Response) -> dict[str, Any]:
    return {"status": response.status_code, **response.json()["error"]}


def streamed(near: RunningServer, model: str, **changes: Any) -> list[str]:
    """Return the lines of a stream's events."""
    body = {"model": model, "messages": HELLO, "stream": True, **changes}
    with near.client.stream("POST", "v1/chat/completions", json=body) as response:
        text = response.read().decode()
    return [line.removeprefix("data: ") for line in text.splitlines() if line and line[0] != ":"]


def test_an_answer_has_all_that_the_upstream_tells(near: RunningServer, odd: StandIn) -> None:
    answer = near.chat(model="odd:good", max_tokens=50, top_k=3, top_a=0.2, user="me").json()
    assert answer["choices"][0]["message"]["content"] == "Hello there"
    assert answer["choices"][0]["message"]["reasoning_content"] == "Hm."
    assert answer["usage"]["prompt_tokens"] == 7
    assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == 2
    assert answer["usage"]["completion_tokens_details"]["reasoning_tokens"] == 1
    assert answer["system_fingerprint"] == "upstream:odd"
    assert odd.last == {
        "model": "good",
        "messages": HELLO,
        "max_completion_tokens": 50,
        "top_k": 3,
        "top_a": 0.2,
        "user": "me",
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    headers = odd.requests[-1][1]
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert headers["x-team"] == "a-team-name"


def test_requests_in_a_row_share_a_connection(near: RunningServer, odd: StandIn) -> None:
    before = len(odd.ports)
    for stream in (False, True):
        assert near.chat(model="odd:good", stream=stream).status_code == 200
    first, second = odd.ports[before:]
    assert first == second


def test_its_trace_names_the_upstream(near: RunningServer) -> None:
    id = near.chat(model="odd:good").json()["id"]
    trace = near.client.get(f"mlx/traces/{id}").json()
    assert trace["upstream"]["name"] == "odd"
    assert trace["upstream"]["host"].startswith("127.0.0.1:")
    assert trace["upstream"]["request_id"] == "req-at-upstream"
    assert trace["timings"]["first_token"] > 0
    assert trace["rows"][0]["content"] == "Hello there"


def test_an_alias_may_mean_a_model_of_an_upstream(near: RunningServer) -> None:
    assert near.chat(model="nick").json()["model"] == "nick"


def test_an_answer_that_is_no_stream_is_read_too(near: RunningServer) -> None:
    answer = near.chat(model="odd:plain").json()
    assert answer["choices"][0]["message"]["content"] == "Hello there"
    assert answer["usage"]["completion_tokens"] == 3


def test_parallel_calls_keep_their_ids_and_have_arguments(near: RunningServer) -> None:
    tools = [{"type": "function", "function": {"name": name}} for name in ("add", "now")]
    (choice,) = near.chat(model="odd:calls", tools=tools).json()["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert [
        (call["id"], call["function"]["name"], json.loads(call["function"]["arguments"]))
        for call in choice["message"]["tool_calls"]
    ] == [("call_1", "add", {"a": 1, "b": 2}), ("call_2", "now", {})]


def test_a_filtered_answer_says_so_in_each_api(near: RunningServer) -> None:
    assert near.chat(model="odd:filters").json()["choices"][0]["finish_reason"] == "content_filter"
    body = {"model": "odd:filters", "input": "Hi"}
    response = near.client.post("v1/responses", json=body).json()
    assert response["incomplete_details"] == {"reason": "content_filter"}
    body = {"model": "odd:filters", "messages": HELLO, "max_tokens": 9}
    assert near.client.post("v1/messages", json=body).json()["stop_reason"] == "refusal"


def test_log_probabilities_of_texts_are_read(near: RunningServer) -> None:
    body = {"model": "odd:legacy", "prompt": "A", "logprobs": 1}
    (choice,) = near.client.post("v1/completions", json=body).json()["choices"]
    assert choice["logprobs"]["token_logprobs"] == [-0.5]
    assert choice["logprobs"]["top_logprobs"] == [{"B": -1.0, "A": -0.5}]


def test_embeddings_come_in_order_with_their_tokens(near: RunningServer) -> None:
    body = {"model": "odd:good", "input": ["a", "b"]}
    answer = near.client.post("v1/embeddings", json=body).json()
    assert [each["embedding"] for each in answer["data"]] == [[0.0, 0.0], [0.0, 1.0]]
    assert answer["usage"]["prompt_tokens"] == 4


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("route", "body", "param"),
    [
        ("chat/completions", {"min_p": 0.1}, "min_p"),
        ("chat/completions", {"enable_thinking": True}, "enable_thinking"),
        ("chat/completions", {"return_token_ids": True}, "return_token_ids"),
        ("chat/completions", {"prompt_logprobs": 1}, "prompt_logprobs"),
        ("chat/completions", {"mirostat": 1}, "mirostat"),
        ("responses", {"truncation": "auto"}, "truncation"),
        ("responses", {"thinking_budget": 9}, "thinking_budget"),
        (
            "messages",
            {"max_tokens": 2000, "thinking": {"type": "enabled", "budget_tokens": 1024}},
            "thinking",
        ),
        ("messages/count_tokens", {}, "model"),
        ("embeddings", {"truncate_prompt_tokens": 5}, "truncate_prompt_tokens"),
        ("completions", {"echo": True, "prompt": [1, 2]}, "echo"),
    ],
)
def test_a_parameter_that_the_upstream_does_not_have_is_refused(
    route: str, body: dict[str, Any], param: str, near: RunningServer, odd: StandIn
) -> None:
    before = len(odd.requests)
    given: dict[str, Any] = {
        "chat/completions": {"messages": HELLO},
        "messages": {"messages": HELLO},
        "messages/count_tokens": {"messages": HELLO},
        "responses": {"input": "Hi"},
        "embeddings": {"input": "Hi"},
        "completions": {},
    }[route]
    response = near.client.post(f"v1/{route}", json={"model": "odd:good", **given, **body})
    assert response.status_code == 400, response.text
    if route.startswith("messages"):
        assert "upstream" in response.json()["error"]["message"]
    else:
        assert response.json()["error"]["param"] == param
    assert len(odd.requests) == before


def test_what_extra_allows_is_sent(near: RunningServer, odd: StandIn) -> None:
    assert near.chat(model="odd:good", guided_regex="a+").status_code == 200
    assert odd.last["structured_outputs"] == {"regex": "a+"}


def test_ignored_parameters_are_not_those_that_the_upstream_gets(near: RunningServer) -> None:
    response = near.chat(model="odd:good", user="me", service_tier="flex", other=1)
    assert response.headers["x-mlx-ignored-parameters"] == "other"


@pytest.mark.parametrize("route", ["load", "unload", "pin", "download"])
def test_it_is_neither_loaded_nor_unloaded(route: str, near: RunningServer) -> None:
    response = near.client.post(f"mlx/models/{route}", json={"model": "odd:good"})
    assert error(response)["code"] == "model_is_upstream"


def test_settings_of_its_models_are_defaults_of_requests(near: RunningServer, odd: StandIn) -> None:
    settings = "mlx/models/odd:good/settings"
    refused = near.client.put(settings, json={"kv_bits": 4})
    assert refused.status_code == 400, refused.text
    assert "loads its models itself" in refused.json()["error"]["message"]
    near.client.put(settings, json={"temperature": 0.25, "system": "Be brief."}).raise_for_status()
    try:
        assert near.chat(model="odd:good").status_code == 200
    finally:
        near.client.put(settings, json={}).raise_for_status()
    assert odd.last["temperature"] == 0.25
    assert odd.last["messages"][0] == {"role": "system", "content": "Be brief."}


# --- faults ---------------------------------------------------------------------------------------


def test_a_response_in_the_background_fails_with_openais_code(near: RunningServer) -> None:
    body = {"model": "odd:busy", "input": "Hi", "background": True}
    id = near.client.post("v1/responses", json=body).json()["id"]
    failed = wait_for(
        lambda: (r := near.client.get(f"v1/responses/{id}").json())["status"] == "failed" and r, 20
    )
    assert failed["error"]["code"] == "rate_limit_exceeded"
    assert "Rate limit reached" in failed["error"]["message"]


@pytest.mark.parametrize(
    ("model", "status", "code", "said"),
    [
        ("odd:refuses", 502, "upstream_error", "does not accept the key"),
        ("odd:busy", 429, "rate_limit_exceeded", "Rate limit reached"),
        ("odd:fails", 500, "upstream_error", "CUDA out of memory"),
        ("odd:redirects", 502, "upstream_error", "redirects to https://elsewhere.example/v1/chat"),
        ("odd:garbage", 502, "upstream_error", "is not an answer"),
        ("odd:breaks", 502, "upstream_error", "broke off the answer"),
        ("odd:reports", 529, "upstream_error", "Overloaded"),
        ("odd:compressed", 502, "upstream_error", "compressed"),
        ("odd:long", 502, "upstream_error", "an event of more than"),
        ("small:huge", 502, "upstream_error", "max_answer_bytes"),
        ("small:silent", 504, "upstream_timeout", "sent nothing for 1 seconds"),
        ("gone:any", 503, "upstream_unreachable", "cannot be reached"),
    ],
)
def test_a_fault_is_an_error_that_names_the_upstream(
    model: str, status: int, code: str, said: str, near: RunningServer
) -> None:
    response = near.chat(model=model)
    assert error(response)["status"] == status, response.text
    assert error(response)["code"] == code
    assert said in error(response)["message"]
    assert f"upstream '{model.partition(':')[0]}'" in error(response)["message"]
    assert KEY not in response.text
    if model == "odd:busy":
        assert response.headers["retry-after"] == "7"


def test_a_missing_key_is_said(near: RunningServer) -> None:
    body = {"model": "keyless:good", "input": "Hi"}
    told = error(near.client.post("v1/embeddings", json=body))
    assert (told["status"], told["code"]) == (503, "upstream_key_missing")
    assert "NOT_SET is not set" in told["message"]
    assert "for v1/embeddings" in error(near.chat(model="keyless:good"))["message"]


def test_fewer_choices_than_asked_for_are_an_error(near: RunningServer) -> None:
    told = error(near.chat(model="odd:one", n=2))
    assert "ended the answer after 1 of 2 choices" in told["message"]


def test_log_probabilities_that_do_not_come_are_an_error(near: RunningServer) -> None:
    assert "no log probabilities" in error(near.chat(model="odd:good", logprobs=True))["message"]


def test_a_stream_that_breaks_ends_with_an_error(near: RunningServer) -> None:
    *_, before, event, last = streamed(near, "odd:breaks")
    assert json.loads(before)["choices"][0]["delta"]["content"] == "Hello"
    assert event == "event: error"
    assert "broke off the answer" in json.loads(last)["error"]["message"]


def test_a_slow_upstream_keeps_its_clients_connection_alive(near: RunningServer) -> None:
    body = {"model": "odd:silent", "messages": HELLO, "stream": True}
    with near.client.stream("POST", "v1/chat/completions", json=body) as response:
        assert next(response.iter_lines()) == ": keep-alive"


def test_many_texts_wait_for_each_other_at_a_narrow_upstream(near: RunningServer) -> None:
    body = {"model": "single:legacy", "prompt": ["A", "B", "C"]}
    choices = near.client.post("v1/completions", json=body).json()["choices"]
    assert [choice["text"] for choice in choices] == ["A", "A", "A"]


@pytest.mark.parametrize("how", ["leaves", "cancels"])
def test_the_end_of_a_request_closes_its_connection(
    how: str, near: RunningServer, odd: StandIn
) -> None:
    odd.left.clear()
    body = {"model": "odd:endless", "messages": HELLO, "stream": True}
    with near.client.stream("POST", "v1/chat/completions", json=body) as response:
        lines = response.iter_lines()
        while "more" not in next(lines):
            pass
        (request,) = near.status()["requests"]
        assert (request["model"], request["phase"]) == ("odd:endless", "decode")
        if how == "cancels":
            near.client.post(f"mlx/cancel/{request['id']}").raise_for_status()
            assert any("mlx/cancel" in line for line in lines)
    assert odd.left.wait(20)
    assert wait_for(lambda: not near.status()["requests"], 20)


def test_more_requests_than_allowed_wait_for_nobody(near: RunningServer) -> None:
    with ThreadPoolExecutor() as pool:
        first = pool.submit(near.chat, model="single:silent")
        (request,) = wait_for(lambda: near.status()["requests"], 20)
        told = error(near.chat(model="single:good"))
        assert (told["status"], told["code"]) == (429, "queue_full")
        near.client.post(f"mlx/cancel/{request['id']}").raise_for_status()
        assert error(first.result())["code"] == "request_cancelled"


# --- secrets --------------------------------------------------------------------------------------


def test_the_list_shows_all_models_and_what_is_wrong(near: RunningServer) -> None:
    listed = {m["id"]: m for m in near.client.get("mlx/models").json()["models"]}
    assert {f"odd:{name}" for name in MODELS} == {name for name in listed if name[:4] == "odd:"}
    good = listed["odd:good"]
    assert (good["state"], good["source"], good["fits"]) == ("upstream", "upstream", None)
    assert good["context_length"] == 8192
    assert good["capabilities"] == ["chat", "tools"]
    assert listed["keyless:good"]["capabilities"] == ["embeddings"]
    assert "small:breaks" not in listed
    assert "cannot be reached" in listed["gone:"]["error"]
    cards = {m["id"]: m for m in near.client.get("v1/models").json()["data"]}
    assert cards["odd:good"]["owned_by"] == "odd"
    assert near.client.get("v1/models/odd:good").json()["id"] == "odd:good"
    assert near.client.get("v1/models/odd:none").status_code == 404


def test_the_key_is_nowhere(near: RunningServer) -> None:
    near.chat(model="odd:refuses")
    shown = [near.client.get(path).text for path in ("v1/models", "mlx/models", "mlx/status")]
    traces = near.client.get("mlx/traces").json()["data"]
    shown += [near.client.get(f"mlx/traces/{trace['id']}").text for trace in traces]
    for text in (*shown, near.log):
        assert KEY not in text
        assert "a-team-name" not in text


def test_a_kernel_does_not_inherit_the_key(near: RunningServer) -> None:
    kernel = near.client.post("api/kernels", json={}).raise_for_status().json()["id"]
    try:
        import psutil

        children = psutil.Process(near.process.pid).children(recursive=True)
        kernels = [child for child in children if "ipykernel_launcher" in " ".join(child.cmdline())]
        assert kernels
        assert all("ODD_KEY" not in child.environ() for child in kernels)
    finally:
        near.client.delete(f"api/kernels/{kernel}")
