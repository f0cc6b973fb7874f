"""LiteLLM's `completion` with an `openai/` model."""

import asyncio
import json
from typing import Any

import litellm
import pytest

from tests.server.running import HELLO, RunningServer

litellm.telemetry = False
litellm.suppress_debug_info = True

WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tell the weather.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Paris", "Oslo"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


@pytest.fixture(scope="module")
def asked(server: RunningServer) -> dict[str, Any]:
    return {
        "model": "openai/tiny-chat",
        "api_base": server.openai_url,
        "api_key": server.token,
        "messages": HELLO,
        "temperature": 0,
        "max_tokens": 60,
        "num_retries": 0,
    }


def test_a_chat_is_answered_complete_and_streamed(asked: dict[str, Any]) -> None:
    whole: Any = litellm.completion(**asked)
    assert whole.choices[0].message.content
    assert whole.usage.prompt_tokens > 0
    chunks: list[Any] = list(
        litellm.completion(**asked, stream=True, stream_options={"include_usage": True})
    )
    rebuilt: Any = litellm.stream_chunk_builder(chunks, messages=HELLO)
    assert rebuilt.choices[0].message.content == whole.choices[0].message.content
    assert rebuilt.usage.completion_tokens == whole.usage.completion_tokens


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_required_call_is_made_and_its_result_answered(
    asked: dict[str, Any], stream: bool
) -> None:
    calling = {**asked, "tools": [WEATHER], "parallel_tool_calls": False}
    first: Any = litellm.completion(**calling, tool_choice="required", stream=stream)
    if stream:
        first = litellm.stream_chunk_builder(list(first), messages=HELLO)
    message = first.choices[0].message
    assert first.choices[0].finish_reason == "tool_calls"
    [call] = message.tool_calls
    assert call.function.name == "get_weather"
    assert set(json.loads(call.function.arguments)) == {"city"}
    result = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    second: Any = litellm.completion(
        **{**calling, "messages": [*HELLO, message, result]}, tool_choice="none"
    )
    assert second.choices[0].message.content


def test_a_schema_is_enforced(asked: dict[str, Any]) -> None:
    schema = {
        "type": "object",
        "properties": {"right": {"type": "boolean"}},
        "required": ["right"],
        "additionalProperties": False,
    }
    answer: Any = litellm.completion(
        **asked,
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "verdict", "schema": schema, "strict": True},
        },
    )
    assert isinstance(json.loads(answer.choices[0].message.content)["right"], bool)


def test_the_asynchronous_call_and_embeddings_work(asked: dict[str, Any]) -> None:
    async def completed() -> Any:
        try:
            return await litellm.acompletion(**asked)
        finally:
            await litellm.close_litellm_async_clients()

    answer = asyncio.run(completed())
    assert answer.choices[0].message.content
    where = {name: asked[name] for name in ("model", "api_base", "api_key")}
    vectors: Any = litellm.embedding(**where, input=["Hello", "Good evening"])
    assert len(vectors.data) == 2


def test_errors_are_litellms_own(asked: dict[str, Any]) -> None:
    with pytest.raises(litellm.NotFoundError, match="There is no model"):
        litellm.completion(**{**asked, "model": "openai/none"})
    with pytest.raises(litellm.BadRequestError, match="temperature"):
        litellm.completion(**{**asked, "temperature": 9})
    with pytest.raises(litellm.AuthenticationError):
        litellm.completion(**{**asked, "api_key": "wrong"})
    with pytest.raises(litellm.ContextWindowExceededError):
        litellm.completion(**{**asked, "messages": [{"role": "user", "content": "w " * 40_000}]})
