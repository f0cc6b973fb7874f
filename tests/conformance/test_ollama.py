"""Ollama's own Python client, below the address of a Jupyter server."""

import asyncio
import base64
import json
from collections.abc import Iterator
from typing import Any

import ollama
import pytest

from tests.conformance.test_images import png
from tests.server.running import HELLO, RunningServer

GREEDY = {"temperature": 0, "num_predict": 8, "seed": 1}
SCHEMA = {
    "type": "object",
    "properties": {"digit": {"type": "integer", "minimum": 0, "maximum": 9}},
    "required": ["digit"],
    "additionalProperties": False,
}


def add(a: int, b: int) -> int:
    """Add two numbers.

    Args:
        a: The first number
        b: The second number
    """
    return a + b


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[ollama.Client]:
    with ollama.Client(server.url + "mlx/ollama", headers=server.headers) as client:
        yield client


def test_a_chat_is_the_same_whole_and_streamed_and_by_openais_api(
    client: ollama.Client, server: RunningServer
) -> None:
    whole = client.chat("tiny-chat", HELLO, options=GREEDY)
    parts = list(client.chat("tiny-chat:latest", HELLO, options=GREEDY, stream=True))
    text = "".join(part.message.content or "" for part in parts)
    openai = server.chat(model="tiny-chat", max_tokens=8, temperature=0, seed=1).json()
    assert whole.message.content == text == openai["choices"][0]["message"]["content"] != ""
    assert len(parts) > 2
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    assert (whole.done_reason, whole.eval_count) == ("length", 8)
    assert whole.prompt_eval_count == openai["usage"]["prompt_tokens"]
    assert whole.total_duration is not None
    assert whole.eval_duration is not None
    assert whole.total_duration >= whole.eval_duration > 1000
    trace = server.client.get("mlx/traces").json()["data"][1]
    assert (trace["endpoint"], trace["model"]) == ("api/chat", "tiny-chat")


def test_the_asynchronous_client_streams(server: RunningServer) -> None:
    async def said() -> str:
        client = ollama.AsyncClient(server.url + "mlx/ollama", headers=server.headers)
        async with client:
            parts = await client.chat("tiny-chat", HELLO, options=GREEDY, stream=True)
            return "".join([part.message.content or "" async for part in parts])

    assert asyncio.run(said())


@pytest.mark.parametrize("stream", [False, True])
def test_a_function_is_called_and_its_result_is_read(client: ollama.Client, stream: bool) -> None:
    messages: list[Any] = [{"role": "user", "content": "What is 2 plus 3? Use the tool."}]
    answers: list[Any] = []
    for _ in range(2):
        answer = client.chat(
            "tiny-chat", messages, tools=[add], options={"temperature": 0}, stream=stream
        )
        answers = list(answer) if stream else [answer]
        calls = [call for part in answers for call in part.message.tool_calls or ()]
        if not calls:
            break
        messages += [part.message for part in answers if part.message.tool_calls]
        result = str(add(**calls[0].function.arguments))
        messages.append({"role": "tool", "content": result, "tool_name": "add"})
    assert [m["role"] for m in messages] == ["user", "assistant", "tool"]
    assert answers[-1].done_reason == "stop"
    assert "".join(part.message.content or "" for part in answers)


def test_a_format_is_kept(client: ollama.Client) -> None:
    fixed = client.chat("tiny-chat", HELLO, format=SCHEMA)
    assert 0 <= json.loads(fixed.message.content or "")["digit"] <= 9
    free = client.generate("tiny-chat", "Hello!", format=SCHEMA, stream=True)
    assert "digit" in json.loads("".join(part.response or "" for part in free))


def test_reasoning_is_apart_from_the_answer(client: ollama.Client) -> None:
    question = [{"role": "user", "content": "What is 2 plus 3?"}]
    thought = client.chat("tiny-chat", question, think=True, options={"temperature": 0})
    assert thought.message.thinking
    plain = client.chat("tiny-chat", question, think=False, options={"temperature": 0})
    assert not plain.message.thinking


def test_images_are_seen(client: ollama.Client) -> None:
    image = png()
    message = {"role": "user", "content": "What do you see?", "images": [image]}
    by_chat = client.chat("tiny-vision", [message], options=GREEDY)
    by_prompt = client.generate("tiny-vision", "What do you see?", images=[image], options=GREEDY)
    assert by_chat.message.content == by_prompt.response != ""
    with pytest.raises(ollama.ResponseError, match="takes no images"):
        client.chat("tiny-chat", [message])
    with pytest.raises(ollama.ResponseError, match=r"images\[0\]"):
        client.generate("tiny-vision", "Hi", images=[base64.b64encode(b"no image").decode()])


def test_a_prompt_can_be_raw_and_has_log_probabilities(client: ollama.Client) -> None:
    raw = client.generate("tiny-chat", "Hello", raw=True, options=GREEDY)
    assert raw.prompt_eval_count is not None
    assert raw.prompt_eval_count < 5
    shown = client.generate("tiny-chat", "Hello!", options=GREEDY, logprobs=True, top_logprobs=2)
    assert shown.logprobs is not None
    assert len(shown.logprobs) == shown.eval_count
    assert {len(token.top_logprobs or ()) for token in shown.logprobs} == {2}


def test_texts_are_embedded(client: ollama.Client, server: RunningServer) -> None:
    texts = ["one", "two"]
    several = client.embed("tiny-chat", texts)
    openai = server.client.post("v1/embeddings", json={"model": "tiny-chat", "input": texts}).json()
    assert several.embeddings == [each["embedding"] for each in openai["data"]]
    assert several.prompt_eval_count == openai["usage"]["prompt_tokens"]
    short = client.embed("tiny-chat", "one", dimensions=8)
    assert len(short.embeddings[0]) == 8
    older = client.embeddings("tiny-chat", "one")
    assert list(older.embedding) == pytest.approx(several.embeddings[0], abs=1e-4)


def test_models_are_listed_described_loaded_and_unloaded(client: ollama.Client) -> None:
    listed = {model.model: model for model in client.list().models}
    assert {"tiny-chat", "tiny-vision"} <= set(listed)
    assert listed["tiny-chat"].size
    shown = client.show("tiny-chat")
    assert shown.capabilities == ["completion", "tools", "thinking"]
    assert shown.modelinfo is not None
    assert shown.modelinfo["qwen3.context_length"] == 4096
    assert client.chat("tiny-vision").done_reason == "load"
    assert "tiny-vision" in {model.model for model in client.ps().models}
    assert client.generate("tiny-vision", keep_alive=0).done_reason == "unload"
    assert "tiny-vision" not in {model.model for model in client.ps().models}


def test_a_model_is_kept_as_long_as_a_request_says(
    client: ollama.Client, server: RunningServer
) -> None:
    # A pinned model stays for ever, and without an idle time all do. Other tests, which use this
    # server too, may have set either.
    server.client.post("mlx/models/pin", json={"model": "tiny-chat", "pinned": False})
    server.client.patch("mlx/settings", json={"idle_unload_minutes": None}).raise_for_status()

    def expires() -> Any:
        return next(m.expires_at for m in client.ps().models if m.model == "tiny-chat")

    client.chat("tiny-chat", HELLO, options=GREEDY, keep_alive="48h")
    in_two_days = expires()
    client.chat("tiny-chat", HELLO, options=GREEDY, keep_alive="1m")
    assert (in_two_days - expires()).total_seconds() > 24 * 3600


def test_pulling_a_model_that_is_here_succeeds(client: ollama.Client) -> None:
    assert client.pull("tiny-chat").status == "success"
    assert [part.status for part in client.pull("tiny-chat", stream=True)] == ["success"]
    with pytest.raises(ollama.ResponseError, match="HF_HUB_OFFLINE"):
        list(client.pull("org/nonesuch", stream=True))


def test_what_is_not_there_says_so(client: ollama.Client, server: RunningServer) -> None:
    with pytest.raises(ollama.ResponseError) as missing:
        client.chat("nonesuch", HELLO)
    assert missing.value.status_code == 404
    for refused in (
        lambda: client.create("x", from_="tiny-chat"),
        lambda: client.copy("tiny-chat", "x"),
        lambda: client.delete("tiny-chat"),
        lambda: client.push("tiny-chat"),
    ):
        with pytest.raises(ollama.ResponseError, match="This server") as error:
            refused()
        assert error.value.status_code == 400
    with (
        ollama.Client(server.url + "mlx/ollama") as stranger,
        pytest.raises(ollama.ResponseError) as unknown,
    ):
        stranger.list()
    assert unknown.value.status_code == 401


def test_the_response_names_what_was_not_used(server: RunningServer) -> None:
    body = {"model": "tiny-chat", "prompt": "Hi", "options": {"num_ctx": 9, "num_predict": 1}}
    answer = server.client.post("mlx/ollama/api/generate", json=body)
    assert answer.headers["x-mlx-ignored-parameters"] == "options.num_ctx"
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert json.loads(answer.text.splitlines()[-1])["done"]
