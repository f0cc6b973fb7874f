"""The events that the tokens of a row become."""

from typing import Any

import pytest
from mlx_lm.utils import load_tokenizer

from mlx_notebook.engine.dialects.output_reader import MarkerReader
from mlx_notebook.engine.dialects.reasoning import ReasoningMarks
from mlx_notebook.engine.generation.output_stream import OutputStream
from mlx_notebook.protocol import Event, Reasoning, Text, TokenLogprob
from tests.tiny_models.models import byte_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("tokenizer")
    byte_tokenizer(folder)
    return load_tokenizer(folder)


def logprob(text: str) -> TokenLogprob:
    return TokenLogprob(text, -1.0, list(text.encode()), [])


def stream(
    tokenizer: Any, text: str, reader: MarkerReader, *, cut: bool = False, logprobs: bool = False
) -> tuple[OutputStream, list[Event]]:
    """Feed a text token by token; return its events."""
    output, events = OutputStream("7", 0, tokenizer, reader), list[Event]()
    for token in tokenizer.encode(text, add_special_tokens=False):
        name = tokenizer.decode([token])
        output.add(token, logprob(name) if logprobs else None, events)
    output.finish(cut=cut, events=events)
    return output, events


def text_of(events: list[Event], kind: type[Text] | type[Reasoning] = Text) -> str:
    return "".join(event.text for event in events if isinstance(event, kind))


def test_a_character_of_several_tokens_is_one_text(tokenizer: Any) -> None:
    _, events = stream(tokenizer, "aß€🙂", MarkerReader())
    texts = [event for event in events if isinstance(event, Text) and event.text]
    assert [event.text for event in texts] == ["a", "ß", "€", "🙂"]
    assert [event.tokens for event in texts] == [1, 2, 3, 4]  # bytes of UTF-8, one token each


def test_reasoning_and_content_are_separate_and_all_tokens_are_counted(tokenizer: Any) -> None:
    reader = MarkerReader(reasoning=ReasoningMarks("<think>", "</think>", "</think>"))
    output, events = stream(tokenizer, "<think>Hm.</think>Yes.", reader)
    assert text_of(events, Reasoning) == "Hm."
    assert text_of(events) == "Yes."
    counted = sum(event.tokens for event in events if isinstance(event, Text | Reasoning))
    assert counted == len(tokenizer.encode("<think>Hm.</think>Yes.", add_special_tokens=False))
    assert 0 < output.reasoning_tokens < counted
    assert output.trace().raw == "<think>Hm.</think>Yes."


def test_a_stop_string_ends_the_text_before_it(tokenizer: Any) -> None:
    output, events = stream(tokenizer, "one two", MarkerReader(stop=[" t"]))
    assert output.stopped == " t"
    assert text_of(events) == "one"


def test_text_that_may_be_a_stop_string_is_held_back_until_the_end(tokenizer: Any) -> None:
    output, events = stream(tokenizer, "one t", MarkerReader(stop=[" two"]), cut=True)
    assert output.stopped is None
    assert text_of(events) == "one t"


def test_log_probabilities_go_with_the_tokens_of_the_content(tokenizer: Any) -> None:
    reader = MarkerReader(reasoning=ReasoningMarks("<think>", "</think>", "</think>"))
    _, events = stream(tokenizer, "<think>Hm.</think>Yes.", reader, logprobs=True)
    shown = [
        scored.token
        for event in events
        if isinstance(event, Text)
        for scored in event.logprobs or ()
    ]
    assert "".join(shown) == "Yes."
