"""A prompt is rendered, tokenized, truncated and limited before the engine admits it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mlx_lm.utils import load_tokenizer

from mlx_notebook import demo_models
from mlx_notebook.engine.errors import ContextOverflow, InvalidRequest
from mlx_notebook.engine.prompts import incremental_tokenizer
from mlx_notebook.engine.prompts.chat_format import ChatFormat
from mlx_notebook.engine.prompts.length_limits import LengthLimit
from mlx_notebook.engine.prompts.prompt import (
    DEFAULT_MAX_TOKENS,
    PreparedPrompt,
    max_new_tokens,
    prepare_prompt,
    tokenize_text,
    truncate_input,
    truncate_prompt,
)
from mlx_notebook.protocol import ChatPrompt, TextPrompt

HELLO = [{"role": "user", "content": "Hello"}]
LIMIT = LengthLimit(2048)


@pytest.fixture(scope="module")
def chat_format() -> ChatFormat:
    tokenizer = load_tokenizer(Path(demo_models.__file__).parent / "tiny-chat")
    return ChatFormat(tokenizer, len(tokenizer._tokenizer))


def chat(**options: Any) -> ChatPrompt:
    return ChatPrompt(messages=HELLO, **options)


def test_a_chat_is_rendered_by_the_template_and_tokenized(chat_format: ChatFormat) -> None:
    prompt = prepare_prompt(chat_format, chat(), LIMIT)
    assert "Hello" in prompt.text
    assert chat_format.tokenizer.decode(prompt.tokens) == prompt.text
    assert prompt.cache_keys is prompt.tokens


def test_the_next_turn_shares_a_prompt_up_to_its_last_border(chat_format: ChatFormat) -> None:
    prompt = prepare_prompt(chat_format, chat(), LIMIT)
    answer = {"role": "assistant", "content": "Hi"}
    longer = ChatPrompt(messages=[*HELLO, answer, {"role": "user", "content": "And?"}])
    following = prepare_prompt(chat_format, longer, LIMIT)
    border = prompt.borders[-1]
    assert chat_format.tokenizer.decode(prompt.tokens[:border]).endswith("Hello")
    assert following.tokens[:border] == prompt.tokens[:border]
    assert border in following.borders


def test_a_conversation_continues_the_tokens_of_one_with_its_salt(
    chat_format: ChatFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incremental_tokenizer, "_SHORTEST", 1)
    asked: list[str] = []
    whole = incremental_tokenizer._encoding

    def encoding(own: Any, text: str) -> Any:
        asked.append(text)
        return whole(own, text)

    monkeypatch.setattr(incremental_tokenizer, "_encoding", encoding)
    answer = {"role": "assistant", "content": "Hi"}
    longer = ChatPrompt(messages=[*HELLO, answer, {"role": "user", "content": "And?"}])
    alone = prepare_prompt(chat_format, longer, LIMIT)
    assert asked == [alone.text]
    for salt, shares in (("ann", False), ("ann", True), ("bob", False)):
        prompt = prepare_prompt(chat_format, longer, LIMIT, salt=salt)
        assert (len(asked.pop()) < len(alone.text)) is shares
        assert (prompt.tokens, prompt.borders) == (alone.tokens, alone.borders)


def test_a_last_message_that_is_not_found_ends_where_the_generation_prompt_begins(
    chat_format: ChatFormat,
) -> None:
    messages = [*HELLO, {"role": "user", "content": ""}]
    closed = ChatPrompt(messages=messages, add_generation_prompt=False)
    head = prepare_prompt(chat_format, closed, LIMIT)
    prompt = prepare_prompt(chat_format, ChatPrompt(messages=messages), LIMIT, need_end=True)
    assert prompt.borders[-1] == len(head.tokens) < len(prompt.tokens)


def test_a_continued_message_is_left_open(chat_format: ChatFormat) -> None:
    messages = [*HELLO, {"role": "assistant", "content": "The answer is"}]
    prompt = ChatPrompt(messages=messages, add_generation_prompt=False, continues=True)
    assert prepare_prompt(chat_format, prompt, LIMIT).text.endswith("The answer is")


def test_a_chat_that_is_too_long_is_refused(chat_format: ChatFormat) -> None:
    prompt = ChatPrompt(messages=[{"role": "user", "content": "a" * 500}])
    with pytest.raises(ContextOverflow, match="at most 40 characters"):
        prepare_prompt(chat_format, prompt, LengthLimit(10, longest=4))


def test_a_text_is_tokenized_without_a_template(chat_format: ChatFormat) -> None:
    prompt = tokenize_text(chat_format.tokenizer, TextPrompt(text="Hello"), LIMIT)
    assert prompt.text == "Hello"
    same = tokenize_text(chat_format.tokenizer, TextPrompt(text=prompt.tokens), LIMIT)
    assert same.tokens == prompt.tokens


def test_a_token_that_does_not_exist_is_refused(chat_format: ChatFormat) -> None:
    with pytest.raises(InvalidRequest, match="token ids must lie between 0 and"):
        tokenize_text(chat_format.tokenizer, TextPrompt(text=[10**6]), LIMIT)


def cut(count: int, prompt: PreparedPrompt | None = None, max_tokens: int | None = 2) -> list[int]:
    prompt = prompt or PreparedPrompt([1, 2, 3, 4, 5, 6], "", [1, 5])
    return truncate_prompt(prompt, count, 6, max_tokens, lambda tokens: str(tokens)).tokens


def test_a_prompt_keeps_its_last_tokens() -> None:
    assert cut(2) == [5, 6]
    assert cut(6) == [1, 2, 3, 4, 5, 6]


def test_a_prompt_leaves_room_for_the_answer() -> None:
    assert cut(-1) == [3, 4, 5, 6]
    assert cut(-1, max_tokens=None) == [4, 5, 6]


def test_a_truncated_prompt_keeps_the_borders_that_are_left() -> None:
    prompt = PreparedPrompt([1, 2, 3, 4, 5, 6], "", [1, 5])
    assert truncate_prompt(prompt, 4, 6, 2, str).borders == [3]


@pytest.mark.parametrize("count", [0, -2, 7])
def test_a_count_that_cannot_be_fed_is_refused(count: int) -> None:
    with pytest.raises(InvalidRequest, match="must be -1, or between 1 and 6"):
        cut(count)


def test_a_prompt_with_images_cannot_be_truncated() -> None:
    span: Any = SimpleNamespace()
    with pytest.raises(InvalidRequest, match="cannot be used with images"):
        cut(2, PreparedPrompt([1, 2, 3], "", image_spans=[span]))


def test_an_input_for_embedding_keeps_its_special_tokens() -> None:
    tokenizer = SimpleNamespace(encode=lambda text: [101, 102])
    assert truncate_input(tokenizer, [101, 1, 2, 3, 102], 4) == [101, 1, 2, 102]
    assert truncate_input(tokenizer, [101, 1, 102], 3) == [101, 1, 102]
    with pytest.raises(InvalidRequest, match="must be more than 2"):
        truncate_input(tokenizer, [101, 1, 2, 102], 2)


def test_the_answer_gets_the_rest_of_the_context() -> None:
    assert max_new_tokens(10, 100, 20) == 20
    assert max_new_tokens(90, 100, 20) == 10
    assert max_new_tokens(10, 10**6, None) == DEFAULT_MAX_TOKENS


def test_a_prompt_that_leaves_no_room_is_refused() -> None:
    with pytest.raises(ContextOverflow, match="Shorten the messages by at least 3 tokens"):
        max_new_tokens(102, 100, 5)
    with pytest.raises(ContextOverflow, match="takes 50 at most"):
        max_new_tokens(51, 100, 5, max_prompt=50)
