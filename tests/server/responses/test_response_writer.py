import json
from typing import Any

import msgspec
import openai.types.responses as sdk
import pydantic
import pytest

from mlx_notebook import protocol
from mlx_notebook.server.errors import EngineError, RequestCancelled
from mlx_notebook.server.responses.response_writer import ResponseWriter
from mlx_notebook.server.wire.responses.response_events import ResponseEvent, encode_event
from mlx_notebook.server.wire.responses.response_object import Response
from mlx_notebook.server.wire.responses.responses_request import DECODER
from mlx_notebook.server.wire.sealed_reasoning import unseal

ADAPTER: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(sdk.ResponseStreamEvent)
DONE = protocol.Done("r", protocol.Usage(10, 5, 4, 2), protocol.Timings(0, 0, 0, 0, 0))
PREFILL = protocol.Prefill("r", 4, 10, 4)


def text(content: str) -> protocol.Text:
    return protocol.Text("r", 0, content, 1)


def thought(content: str) -> protocol.Reasoning:
    return protocol.Reasoning("r", 0, content, 1)


def call(index: int, name: str, *arguments: str) -> list[protocol.Event]:
    start = protocol.ToolCallStart("r", 0, index, f"call_{index}", name)
    return [start, *(protocol.ToolCallArguments("r", 0, index, part) for part in arguments)]


def finished(reason: protocol.FinishReason = "stop") -> list[protocol.Event]:
    return [protocol.Finished("r", 0, reason), DONE]


def writer(body: dict[str, Any] | None = None) -> ResponseWriter:
    request = DECODER.decode(json.dumps({"input": "Hi", **(body or {})}))
    chosen = {"temperature": 0.0, "top_p": 1.0}
    response = Response.to(request, "resp_1", "tiny-chat", 1, chosen=chosen, store=True)
    return ResponseWriter(
        response,
        as_summary=request.wants_summary,
        sealed="reasoning.encrypted_content" in (request.include or ()),
    )


def parsed(events: list[ResponseEvent]) -> list[Any]:
    """Each event as the official client types it, from what goes over the line."""
    result = []
    for event in events:
        name, data, *rest = encode_event(event).decode().split("\n")
        assert rest == ["", ""]
        typed = ADAPTER.validate_json(data.removeprefix("data: "))
        assert name == f"event: {typed.type}"
        result.append(typed)
    assert [event.sequence_number for event in result] == list(range(len(result)))
    return result


def written(events: list[protocol.Event], **body: Any) -> tuple[list[Any], sdk.Response]:
    """The events that a client gets for the engine's, and the final response."""
    made = writer(body)
    told = [each for event in events for each in made.handle(event)]
    assert made.ended
    response = sdk.Response.model_validate_json(msgspec.json.encode(made.response))
    result = parsed(told)
    assert result[-1].response == response
    return result, response


def kinds(events: list[Any]) -> list[str]:
    return [event.type.removeprefix("response.") for event in events]


def test_a_text_is_told_in_order() -> None:
    events, response = written([PREFILL, text("Hel"), text("lo"), *finished()])
    assert kinds(events) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert events[0].response.status == "in_progress"
    assert events[0].response.output == []
    assert events[2].item.status == "in_progress"
    assert events[2].item.content == []
    assert events[8].item.status == "completed"
    assert events[8].item.content[0].text == "Hello"
    assert {event.item_id for event in events[3:8]} == {response.output[0].id}
    assert response.status == "completed"
    assert response.output_text == "Hello"
    assert response.usage is not None
    assert response.usage.input_tokens_details.cached_tokens == 4
    assert response.usage.output_tokens_details.reasoning_tokens == 2
    assert response.usage.total_tokens == 15


def test_thinking_text_and_calls_are_items_of_their_own() -> None:
    events, response = written(
        [
            PREFILL,
            thought("Let me "),
            thought("see."),
            text("\n\n"),
            text("I look."),
            *call(0, "look", '{"a"', ": 1}"),
            text("\n"),
            *call(1, "other", "{}"),
            *finished("tool_calls"),
        ]
    )
    kinds_of_items = [item.type for item in response.output]
    assert kinds_of_items == ["reasoning", "message", "function_call", "function_call"]
    reasoning, message, first, second = response.output
    assert reasoning.type == "reasoning"
    assert reasoning.content is not None
    assert reasoning.content[0].text == "Let me see."
    assert reasoning.summary == []
    assert message.type == "message"
    assert response.output_text == "\n\nI look."
    assert first.type == second.type == "function_call"
    assert (first.name, first.arguments, first.call_id) == ("look", '{"a": 1}', "call_0")
    assert second.arguments == "{}"
    assert response.status == "completed"
    deltas = [
        event.delta
        for event in events
        if event.type == "response.function_call_arguments.delta" and event.output_index == 2
    ]
    assert deltas == ['{"a"', ": 1}"]
    indices = [event.output_index for event in events if hasattr(event, "output_index")]
    assert indices == sorted(indices)
    added = [event for event in events if event.type == "response.output_item.added"]
    done = [event for event in events if event.type == "response.output_item.done"]
    assert [event.item.id for event in added] == [event.item.id for event in done]
    assert [event.item.id for event in done] == [item.id for item in response.output]


def test_a_summary_tells_the_thinking_and_sealed_reasoning_holds_it() -> None:
    events, response = written(
        [PREFILL, thought("Hm"), thought("m."), text("Yes"), *finished()],
        reasoning={"effort": "high", "summary": "auto"},
        include=["reasoning.encrypted_content"],
    )
    reasoning = response.output[0]
    assert reasoning.type == "reasoning"
    assert [part.text for part in reasoning.summary] == ["Hmm."]
    assert reasoning.encrypted_content is not None
    assert unseal(reasoning.encrypted_content) == "Hmm."
    assert [kind for kind in kinds(events) if "reasoning" in kind] == [
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
    ]


def test_an_answer_that_ran_out_of_tokens_is_incomplete() -> None:
    events, response = written([PREFILL, text("Hel"), *finished("length")])
    assert kinds(events)[-1] == "incomplete"
    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"
    assert response.output[0].type == "message"
    assert response.output[0].status == "incomplete"


@pytest.mark.parametrize("blank", ["", " \n"])
def test_an_answer_of_nothing_is_an_empty_message(blank: str) -> None:
    _, response = written([PREFILL, *([text(blank)] if blank else []), *finished()])
    assert [item.type for item in response.output] == ["message"]
    assert response.output_text == blank


def test_log_probabilities_come_with_the_text() -> None:
    token = protocol.TokenLogprob("Hi", -0.5, [72, 105], [("Hi", -0.5, [72, 105])])
    events, response = written(
        [PREFILL, protocol.Text("r", 0, "Hi", 1, [token]), *finished()],
        include=["message.output_text.logprobs"],
        top_logprobs=1,
    )
    message = response.output[0]
    assert message.type == "message"
    assert message.content[0].type == "output_text"
    assert message.content[0].logprobs is not None
    assert message.content[0].logprobs[0].top_logprobs[0].token == "Hi"
    delta = next(event for event in events if event.type == "response.output_text.delta")
    assert delta.logprobs[0].logprob == -0.5


def test_log_probabilities_of_tokens_whose_text_comes_later_are_kept() -> None:
    tokens = [protocol.TokenLogprob(word, -0.5, [], []) for word in ("Hi", " ", "Ann", " ")]
    texts = ["Hi", "", " Ann", ""]
    events = [protocol.Text("r", 0, t, 1, [token]) for t, token in zip(texts, tokens, strict=True)]
    _, response = written([PREFILL, *events, *finished()], include=["message.output_text.logprobs"])
    message = response.output[0]
    assert message.type == "message"
    assert message.content[0].type == "output_text"
    logprobs = message.content[0].logprobs or []
    assert [logprob.token for logprob in logprobs] == ["Hi", " ", "Ann", " "]


def test_a_failure_in_the_middle_ends_the_response() -> None:
    made = writer()
    told = [each for event in (PREFILL, text("Hel")) for each in made.handle(event)]
    events = parsed([*told, *made.fail(EngineError("It broke."))])
    assert events[-1].type == "response.failed"
    assert events[-1].response.status == "failed"
    assert events[-1].response.error.code == "server_error"
    assert events[-1].response.output[0].content[0].text == "Hel"


def test_a_response_that_was_stopped_says_so() -> None:
    made = writer()
    told = [each for event in (PREFILL, text("Hel")) for each in made.handle(event)]
    events = parsed([*told, *made.fail(RequestCancelled("Stopped."))])
    assert events[-1].type == "error"
    assert events[-1].code == "request_cancelled"
    assert made.response.status == "cancelled"


def test_a_background_response_is_queued_first() -> None:
    made = writer({"background": True})
    assert made.response.status == "queued"
    told = [*made.accepted(), *made.handle(PREFILL)]
    assert kinds(parsed(told)) == ["created", "queued", "in_progress"]
    assert [event.response.status for event in parsed(told)] == ["queued", "queued", "in_progress"]
