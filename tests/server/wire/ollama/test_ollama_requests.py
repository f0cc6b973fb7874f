import json
from typing import Any

import pytest

from mlx_notebook.protocol import ChatPrompt, FillPrompt, TextPrompt
from mlx_notebook.server.errors import InvalidRequest
from mlx_notebook.server.wire.content import ImageSource
from mlx_notebook.server.wire.decode import decode
from mlx_notebook.server.wire.ollama.ollama_requests import (
    CHAT_DECODER,
    GENERATE_DECODER,
    OllamaChatRequest,
    OllamaGenerateRequest,
)

HI = {"role": "user", "content": "Hi"}
ADD = {
    "type": "function",
    "function": {"name": "add", "parameters": {"type": "object", "properties": {}}},
}


def chat(*messages: dict[str, Any], **parameters: Any) -> OllamaChatRequest:
    body = {"model": "m", "messages": messages, **parameters}
    return decode(CHAT_DECODER, json.dumps(body).encode())


def generate(**parameters: Any) -> OllamaGenerateRequest:
    return decode(GENERATE_DECODER, json.dumps({"model": "m", **parameters}).encode())


def test_messages_become_those_of_the_engine() -> None:
    call = {"function": {"name": "add", "arguments": {"a": 1}}}
    prompt = chat(
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is it?", "images": ["aGk="]},
        {"role": "assistant", "content": "", "thinking": "Hm.", "tool_calls": [call, call]},
        {"role": "tool", "content": "3", "tool_name": "add"},
        {"role": "tool", "content": "4"},
        tools=[ADD],
    ).prompt()
    system, user, assistant, first, second = prompt.messages
    assert system == {"role": "system", "content": "Be brief."}
    image, text = user["content"]
    assert image["source"] == ImageSource("aGk=", "messages[1].images[0]")
    assert text["text"] == "What is it?"
    assert assistant["reasoning_content"] == "Hm."
    ids = [made["id"] for made in assistant["tool_calls"]]
    assert assistant["tool_calls"][0]["function"] == {"name": "add", "arguments": {"a": 1}}
    assert [first["tool_call_id"], second["tool_call_id"]] == ids
    assert (first["name"], second["name"]) == ("add", "add")
    assert prompt.tools[0]["function"]["name"] == "add"
    assert prompt.add_generation_prompt


def test_an_answer_continues_the_last_message_if_that_is_the_models() -> None:
    prompt = chat(HI, {"role": "assistant", "content": "Hel"}).prompt()
    assert prompt.continues
    assert not prompt.add_generation_prompt


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "system", "content": "", "images": ["aGk="]}, "messages[1].images[0]"),
        ({"role": "assistant", "images": ["aGk="]}, "messages[1].images[0]"),
        (
            {"role": "user", "tool_calls": [{"function": {"name": "f"}}]},
            "messages[1].tool_calls",
        ),
        ({"role": "tool", "content": "x", "tool_call_id": "no"}, "messages[1].tool_call_id"),
        ({"role": "assistant", "content": ""}, "messages[1]"),
    ],
)
def test_a_message_that_cannot_be_is_refused_by_its_place(
    message: dict[str, Any], param: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        chat(HI, message).prompt()
    assert refused.value.param == param


@pytest.mark.parametrize(
    ("think", "kwargs"),
    [
        (None, {}),
        (True, {"enable_thinking": True}),
        (False, {"enable_thinking": False}),
        ("low", {"enable_thinking": True, "reasoning_effort": "low"}),
        ("max", {"enable_thinking": True, "reasoning_effort": "high"}),
    ],
)
def test_reasoning_is_switched_by_the_template(think: Any, kwargs: dict[str, Any]) -> None:
    asked = chat(HI, think=think)
    assert asked.prompt().template_kwargs == kwargs
    assert asked.reasoning_budget == (1024 if think == "low" else None)


def test_a_format_is_json_or_a_schema() -> None:
    assert chat(HI, format="").output_format() is None
    free = chat(HI, format="json").output_format()
    assert free is not None
    assert (free.kind, free.param) == ("json_object", "format")
    fixed = chat(HI, format={"type": "object"}).output_format()
    assert fixed is not None
    assert (fixed.kind, fixed.value) == ("json_schema", {"type": "object"})
    with pytest.raises(InvalidRequest) as refused:
        chat(HI, format="xml").output_format()
    assert refused.value.param == "format"


def test_log_probabilities_are_asked_for_with_their_alternatives() -> None:
    assert chat(HI).sampling().logprobs is None
    assert chat(HI, logprobs=True).sampling().logprobs == 0
    assert chat(HI, logprobs=True, top_logprobs=3).sampling().logprobs == 3
    with pytest.raises(InvalidRequest) as refused:
        chat(HI, top_logprobs=3).sampling()
    assert refused.value.param == "top_logprobs"


def test_answers_are_streamed_unless_they_are_not_to_be() -> None:
    assert chat(HI).streams
    assert not chat(HI, stream=False).streams


def test_a_prompt_is_a_chat_a_text_or_a_gap() -> None:
    asked = generate(prompt="Hi", system="Be brief.", images=["aGk="]).engine_prompt()
    assert isinstance(asked, ChatPrompt)
    assert asked.messages[0] == {"role": "system", "content": "Be brief."}
    assert asked.messages[1]["content"][0]["source"].where == "images[0]"
    assert generate(prompt="Hi", raw=True).engine_prompt() == TextPrompt(text="Hi")
    gap = generate(prompt="a", suffix="c").engine_prompt()
    assert gap == FillPrompt(prefix="a", suffix="c")


@pytest.mark.parametrize(
    ("parameters", "param"),
    [
        ({"template": "{{ .Prompt }}"}, "template"),
        ({"context": [1, 2]}, "context"),
        ({"raw": True, "system": "x"}, "system"),
        ({"raw": True, "images": ["aGk="]}, "images"),
        ({"raw": True, "think": True}, "think"),
        ({"suffix": "x", "raw": True}, "raw"),
        ({"suffix": "x", "images": ["aGk="]}, "images"),
        ({"suffix": "x", "system": "x"}, "system"),
    ],
)
def test_what_does_not_work_is_refused_by_name(parameters: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        generate(prompt="Hi", **parameters).engine_prompt()
    assert refused.value.param == param


def test_what_has_no_effect_is_not_refused() -> None:
    generate(
        prompt="Hi", template="", context=[], raw=False, suffix="", think=False
    ).engine_prompt()
