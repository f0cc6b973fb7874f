"""tiny-chat's chat template: stable prefixes, any client's history, pictures, thinking."""

import json
from typing import Any

from tests.demo_models.test_tiny_chat_tokenizer import tokenizer

TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather in a city",
        "parameters": {
            "type": "object",
            "required": ["city"],
            "properties": {"city": {"type": "string"}},
        },
    },
}
CALL: dict[str, Any] = {"name": "get_weather", "arguments": {"city": "Zürich", "a": 1}}


def render(messages: list[dict[str, Any]], **options: Any) -> str:
    options = {"add_generation_prompt": True, "enable_thinking": False, **options}
    return str(tokenizer().apply_chat_template(messages, tokenize=False, **options))


def conversation(arguments: Any = None, reasoning: str | None = None) -> list[dict[str, Any]]:
    call = {
        "id": "1",
        "type": "function",
        "function": {**CALL, "arguments": arguments or CALL["arguments"]},
    }
    thought = {} if reasoning is None else {"reasoning_content": reasoning}
    return [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Weather in Zürich?"},
        {"role": "assistant", "content": None, "tool_calls": [call], **thought},
        {"role": "tool", "tool_call_id": "1", "content": "12"},
        {"role": "assistant", "content": "It is 12 degrees."},
        {"role": "user", "content": "Thanks"},
    ]


def test_each_turn_begins_with_the_whole_prompt_of_the_turn_before() -> None:
    messages = conversation()
    answer = render(messages[:2], tools=[TOOL]) + render_call() + "<|im_end|>\n"
    assert render(messages[:4], tools=[TOOL]).startswith(answer)
    assert render(messages, tools=[TOOL]).startswith(
        render(messages[:4], tools=[TOOL]) + "It is 12 degrees."
    )


def render_call() -> str:
    return f"<tool_call>\n{json.dumps(CALL, ensure_ascii=False)}\n</tool_call>"


def test_a_thought_given_back_keeps_the_prefix_too() -> None:
    messages = conversation(reasoning="get_weather fits.")
    first = render(messages[:2], tools=[TOOL], enable_thinking=True)
    assert first.endswith("<|im_start|>assistant\n")
    said = first + "<think>\nget_weather fits.\n</think>\n\n" + render_call() + "<|im_end|>\n"
    assert render(messages, tools=[TOOL], enable_thinking=True).startswith(said)


def test_arguments_as_object_and_as_json_text_look_alike() -> None:
    text = json.dumps(CALL["arguments"], ensure_ascii=False)
    assert render(conversation(text), tools=[TOOL]) == render(conversation(), tools=[TOOL])


def test_keys_keep_the_order_in_which_the_client_sent_them() -> None:
    rendered = render(conversation(), tools=[TOOL])
    assert '"required": ["city"], "properties"' in rendered
    assert '{"city": "Zürich", "a": 1}' in rendered


def test_a_wrapper_in_another_order_changes_nothing() -> None:
    turned = {"function": TOOL["function"], "type": "function"}
    assert render(conversation(), tools=[turned]) == render(conversation(), tools=[TOOL])


def test_results_of_several_calls_share_a_turn() -> None:
    messages = conversation()
    messages.insert(4, {"role": "tool", "tool_call_id": "2", "content": "13"})
    between = (
        "<tool_response>\n12\n</tool_response>\n<tool_response>\n13\n</tool_response><|im_end|>"
    )
    assert between in render(messages, tools=[TOOL])


def test_parts_of_text_and_pictures_become_text() -> None:
    parts = [{"type": "image"}, {"type": "text", "text": "Which colour?"}]
    rendered = render([{"role": "user", "content": parts}])
    assert "user\n<|vision_start|><|image_pad|><|vision_end|>Which colour?<|im_end|>" in rendered


def test_thinking_is_off_unless_asked_for() -> None:
    messages = [{"role": "user", "content": "hi"}]
    assert render(messages).endswith("assistant\n<think>\n\n</think>\n\n")
    assert render(messages, enable_thinking=True).endswith("assistant\n")


def test_a_tool_without_description_and_parameters_is_shown() -> None:
    rendered = render(
        [{"role": "user", "content": "hi"}],
        tools=[{"type": "function", "function": {"name": "now"}}],
    )
    assert '{"name": "now", "parameters": {"type": "object", "properties": {}}}' in rendered
