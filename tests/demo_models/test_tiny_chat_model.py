"""tiny-chat itself, as mlx-lm runs it: it chats, calls unseen tools, answers from their results."""

import json
from functools import cache
from typing import Any

import pytest

from tests.demo_models.test_tiny_chat_tokenizer import FOLDER

INFLATE: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "inflate_balloon",
        "description": "Inflate a balloon",
        "parameters": {
            "type": "object",
            "properties": {"colour": {"type": "string"}, "litres": {"type": "integer"}},
            "required": ["colour", "litres"],
        },
    },
}


@cache
def loaded() -> Any:
    import mlx.core as mx
    from mlx_lm import load

    model, tokenizer = load(str(FOLDER))[:2]
    if mx.default_device() == mx.Device(mx.cpu):
        model.set_dtype(mx.float32)
    return model, tokenizer


def answer(messages: list[dict[str, Any]], tokens: int = 120, **options: Any) -> str:
    from mlx_lm import generate

    model, tokenizer = loaded()
    options = {"enable_thinking": False, **options}
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, **options)
    return str(generate(model, tokenizer, prompt, max_tokens=tokens))


def ask(text: str, **options: Any) -> str:
    return answer([{"role": "user", "content": text}], **options)


def test_the_files_are_small() -> None:
    size = sum(path.stat().st_size for path in FOLDER.iterdir())
    assert size <= 8_000_000


def test_it_greets_and_says_what_it_is() -> None:
    assert ask("Hello!") == "Hello! How can I help you?"
    assert "small demonstration model" in ask("Who are you?")
    assert "%mlx load NAME" in ask("How do I load another model?")


def test_it_calls_a_tool_that_it_has_never_seen() -> None:
    text = ask("Inflate a balloon with colour green and litres 7", tools=[INFLATE])
    call = json.loads(text.split("<tool_call>")[1].split("</tool_call>")[0])
    assert call == {"name": "inflate_balloon", "arguments": {"colour": "green", "litres": 7}}


def test_it_answers_from_the_result() -> None:
    call = {"name": "inflate_balloon", "arguments": '{"colour": "green", "litres": 7}'}
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "Inflate a balloon with colour green and litres 7"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"type": "function", "function": call}],
        },
        {"role": "tool", "tool_call_id": "1", "content": '{"size": 31}'},
    ]
    assert answer(messages, tools=[INFLATE]) == "The size is 31."


def test_it_chats_beside_tools() -> None:
    assert "<tool_call>" not in ask("Thank you!", tools=[INFLATE])


def test_it_remembers_a_name() -> None:
    messages = [
        {"role": "user", "content": "My name is Karen."},
        {"role": "assistant", "content": "Nice to meet you, Karen."},
        {"role": "user", "content": "What is my name?"},
    ]
    assert answer(messages) == "Your name is Karen."


@pytest.mark.parametrize("thinking", [True, False])
def test_it_thinks_when_asked_to_and_only_then(thinking: bool) -> None:
    assert ask("hello", enable_thinking=thinking).startswith("<think>\n") is thinking


@pytest.mark.slow
def test_it_can_go_on_for_long() -> None:
    assert ask("Count to 50", tokens=400).startswith("1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12")
    from mlx_lm import stream_generate

    model, tokenizer = loaded()
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Tell me a long story"}],
        add_generation_prompt=True,
        enable_thinking=False,
    )
    assert sum(1 for _ in stream_generate(model, tokenizer, prompt, max_tokens=500)) >= 300
