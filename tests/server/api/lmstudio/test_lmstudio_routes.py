import base64
import json
from typing import Any

import httpx
import pytest

from tests.conformance.test_images import png
from tests.server.running import HELLO, RunningServer, wait_for

CHAT = {"model": "tiny-chat", "temperature": 0}


def get(server: RunningServer, route: str) -> Any:
    answer = server.client.get(f"mlx/lmstudio/api/{route}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def post(server: RunningServer, route: str, **body: Any) -> httpx.Response:
    return server.client.post(f"mlx/lmstudio/api/{route}", json=body)


def chat(server: RunningServer, text: str, **changes: Any) -> Any:
    answer = post(server, "v1/chat", **{**CHAT, "input": text, **changes})
    assert answer.status_code == 200, answer.text
    return answer.json()


def said(answer: Any) -> str:
    return "".join(item["content"] for item in answer["output"] if item["type"] == "message")


def events(answer: httpx.Response) -> list[dict[str, Any]]:
    lines = [line for line in answer.text.splitlines() if line.startswith("data: {")]
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def test_models_are_listed_by_kind_and_state(server: RunningServer) -> None:
    post(server, "v1/models/load", model="short")
    older = {model["id"]: model for model in get(server, "v0/models")["data"]}
    assert (older["short"]["state"], older["short"]["loaded_context_length"]) == ("loaded", 64)
    assert older["words"]["type"] == "embeddings"
    assert older["tiny-vision"]["type"] == "vlm"
    assert older["tiny-chat"]["capabilities"] == ["tool_use"]
    # Rerankers have no kind of their own there.
    assert "ranker" not in older
    assert get(server, "v0/models/org/other")["publisher"] == "org"
    newer = {model["key"]: model for model in get(server, "v1/models")["models"]}
    assert set(newer) == set(older)
    (instance,) = newer["short"]["loaded_instances"]
    assert instance == {"id": "short", "config": {"context_length": 64, "parallel": 8}}
    assert newer["tiny-chat"]["capabilities"] == {"vision": False, "trained_for_tool_use": True}
    assert "capabilities" not in newer["words"]


def test_a_model_is_loaded_and_unloaded(server: RunningServer) -> None:
    answer = post(server, "v1/models/load", model="alias", context_length=9, echo_load_config=True)
    loaded = answer.json()
    assert (loaded["type"], loaded["instance_id"], loaded["status"]) == (
        "llm",
        "org/other",
        "loaded",
    )
    assert loaded["load_config"]["context_length"] > 9
    assert answer.headers["x-mlx-ignored-parameters"] == "context_length"
    assert post(server, "v1/models/unload", instance_id="org/other").json() == {
        "instance_id": "org/other"
    }
    assert get(server, "v0/models/org/other")["state"] == "not-loaded"


def test_a_completion_has_statistics(server: RunningServer) -> None:
    body = {**CHAT, "messages": HELLO, "max_tokens": -1, "ttl": 600}
    whole = post(server, "v0/chat/completions", **body).json()
    plain = server.chat(**CHAT, max_tokens=100).json()
    assert whole["choices"] == plain["choices"]
    assert whole["stats"]["stop_reason"] == "eosFound"
    assert whole["stats"]["tokens_per_second"] > 0
    assert whole["model_info"]["context_length"] == 4096
    assert whole["runtime"]["name"] == "mlx-notebook"
    text = post(server, "v0/completions", model="tiny-chat", prompt="Hello", max_tokens=3).json()
    assert text["stats"]["stop_reason"] == "maxPredictedTokensReached"
    chunks = events(post(server, "v0/chat/completions", **body, stream=True))
    streamed = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
    assert streamed == whole["choices"][0]["message"]["content"]


def test_texts_are_embedded(server: RunningServer) -> None:
    body = {"model": "words", "input": ["one", "two"]}
    own = server.client.post("v1/embeddings", json=body).json()
    assert post(server, "v0/embeddings", **body).json() == own


def test_a_chat_goes_on_where_its_answer_says(server: RunningServer) -> None:
    first = chat(server, "My name is Ann.", system_prompt="Be brief.")
    second = chat(server, "What is my name?", previous_response_id=first["response_id"])
    trace = server.client.get(f"mlx/traces/{second['response_id']}").json()
    assert trace["endpoint"] == "api/v1/chat"
    for part in ("Be brief.", "My name is Ann.", said(first), "What is my name?"):
        assert part in trace["prompt"]
    other = chat(
        server,
        "What is my name?",
        previous_response_id=first["response_id"],
        system_prompt="Be loud.",
    )
    trace = server.client.get(f"mlx/traces/{other['response_id']}").json()
    assert "Be loud." in trace["prompt"]
    assert "Be brief." not in trace["prompt"]
    assert "response_id" not in chat(server, "Hi", store=False)


def test_a_streamed_chat_ends_with_the_whole_answer(server: RunningServer) -> None:
    whole = chat(server, "What is 2 plus 3?", reasoning="on")
    streamed = events(
        post(server, "v1/chat", **CHAT, input="What is 2 plus 3?", reasoning="on", stream=True)
    )
    kinds = [event["type"] for event in streamed]
    assert (kinds[0], kinds[-1]) == ("chat.start", "chat.end")
    result = streamed[-1]["result"]
    assert result["output"] == whole["output"]
    assert [item["type"] for item in whole["output"]] == ["reasoning", "message"]
    assert whole["stats"]["reasoning_output_tokens"] > 0
    deltas = [event["content"] for event in streamed if event["type"] == "message.delta"]
    assert len(deltas) > 1
    assert "".join(deltas) == said(result)


def test_images_are_seen(server: RunningServer) -> None:
    url = f"data:image/png;base64,{base64.b64encode(png()).decode()}"
    parts = [{"type": "text", "content": "What do you see?"}, {"type": "image", "data_url": url}]
    body = {"model": "tiny-vision", "temperature": 0, "max_output_tokens": 4}
    answer = post(server, "v1/chat", **body, input=parts)
    assert answer.status_code == 200, answer.text
    assert said(answer.json())
    parts[1]["data_url"] = "data:image/png;base64,AAAA"
    broken = post(server, "v1/chat", **body, input=parts).json()["error"]
    assert (broken["code"], broken["param"]) == ("invalid_image", "input[1].data_url")
    blind = post(server, "v1/chat", **CHAT, input=parts).json()["error"]
    assert blind["code"] == "vision_not_supported"


def test_a_download_is_a_job(server: RunningServer) -> None:
    assert post(server, "v1/models/download", model="short").json() == {
        "status": "already_downloaded"
    }
    begun = post(server, "v1/models/download", model="https://huggingface.co/org/nonesuch").json()

    def failed() -> Any:
        state = get(server, f"v1/models/download/status/{begun['job_id']}")
        return state if state["status"] == "failed" else None

    assert wait_for(failed, 60)["error"]["code"] == "offline"
    listed = get(server, "v1/models/download/status")
    assert begun["job_id"] in [job["job_id"] for job in listed["failed"]]
    assert listed["paused"] == []


@pytest.mark.parametrize(
    ("route", "body", "status", "kind", "param"),
    [
        ("chat", {"input": "Hi"}, 400, "invalid_request", "model"),
        ("chat", {"model": "nonesuch", "input": "Hi"}, 404, "model_not_found", "model"),
        ("chat", {"model": "words", "input": "Hi"}, 400, "invalid_request", "model"),
        ("chat", {"model": "short", "input": "Hi " * 99}, 400, "invalid_request", "input"),
        (
            "chat",
            {"model": "short", "input": "Hi", "previous_response_id": "resp_x"},
            *(400, "invalid_request", "previous_response_id"),
        ),
        (
            "chat",
            {"model": "short", "input": "Hi", "integrations": ["mcp/x"]},
            *(403, "invalid_request", "integrations[0].server_label"),
        ),
        (
            "models/download",
            {"model": "org/m", "quantization": "Q4_K_M"},
            *(400, "invalid_request", "quantization"),
        ),
        ("models/unload", {"instance_id": "nonesuch"}, 404, "model_not_found", "model"),
        ("nonesuch", {}, 404, "not_implemented", None),
    ],
)
def test_what_is_wrong_is_named(
    server: RunningServer,
    route: str,
    body: dict[str, Any],
    status: int,
    kind: str,
    param: str | None,
) -> None:
    refused = post(server, f"v1/{route}", **body)
    assert refused.status_code == status, refused.text
    error = refused.json()["error"]
    assert (error["type"], error.get("param")) == (kind, param)


def test_an_unknown_job_and_an_unknown_model_are_not_found(server: RunningServer) -> None:
    job = server.client.get("mlx/lmstudio/api/v1/models/download/status/job_x")
    assert (job.status_code, job.json()["error"]["type"]) == (404, "job_not_found")
    model = server.client.get("mlx/lmstudio/api/v0/models/nonesuch")
    assert (model.status_code, model.json()["error"]["code"]) == (404, "model_not_found")


def test_jupyter_keeps_its_own_routes(server: RunningServer) -> None:
    assert server.client.get("api/v0/models").status_code == 404
    assert server.client.get("api/contents").status_code == 200
