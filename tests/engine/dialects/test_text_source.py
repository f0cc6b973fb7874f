"""A parser reads a source piece by piece, and pauses while the text does not decide."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from mlx_notebook.engine.dialects.output_events import CallArguments, CallEnd, CallStart
from mlx_notebook.engine.dialects.text_source import Parsing, TextSource
from mlx_notebook.engine.functions.declared import DeclaredFunctions
from mlx_notebook.engine.functions.parse_errors import Malformed, Truncated


def parse(
    parser: Callable[[TextSource], Parsing[Any]], pieces: Iterable[str]
) -> tuple[Any, TextSource]:
    source = TextSource(DeclaredFunctions())
    running = parser(source)
    try:
        next(running)
        for piece in pieces:
            source.feed(piece)
            next(running)
        source.closed = True
        next(running)
    except StopIteration as ended:
        return ended.value, source
    raise AssertionError("the parser waits at the end of the text")


def each(text: str) -> list[list[str]]:
    """Return a text in every way to cut it in two, and in single characters."""
    return [[text[:at], text[at:]] for at in range(len(text))] + [list(text)]


@pytest.mark.parametrize("pieces", each("  a<end>rest"))
def test_text_up_to_a_marker_is_the_same_however_it_arrives(pieces: list[str]) -> None:
    def parser(source: TextSource) -> Parsing[tuple[str, tuple[str, str]]]:
        first = yield from source.space()
        return first, (yield from source.until("<end>", "<"))

    (first, found), source = parse(parser, pieces)
    assert (first, found) == ("a", ("a", "<end>"))
    assert "rest".startswith(source.rest)


@pytest.mark.parametrize("pieces", each("abcde|"))
def test_text_is_passed_on_as_it_arrives(pieces: list[str]) -> None:
    passed: list[str] = []

    def parser(source: TextSource) -> Parsing[tuple[str, str]]:
        return (yield from source.until("|", emit=passed.append))

    assert parse(parser, pieces)[0] == ("", "|")
    assert "".join(passed) == "abcde"


def test_a_literal_is_accepted_or_left_unread() -> None:
    def parser(source: TextSource) -> Parsing[tuple[str | None, str | None, str]]:
        none = yield from source.accept("abd")
        some = yield from source.accept("x", "abc")
        return none, some, (yield from source.peek(2))

    assert parse(parser, "abcde")[0] == (None, "abc", "de")


def test_other_text_than_expected_is_malformed_and_missing_text_truncated() -> None:
    with pytest.raises(Malformed, match="Expected 'abc' in the call and found 'abx'"):
        parse(lambda source: source.expect("abc"), ["abx"])
    with pytest.raises(Truncated, match="ends inside the call"):
        parse(lambda source: source.expect("abc"), ["ab"])


def test_a_call_becomes_events_with_its_raw_text() -> None:
    def parser(source: TextSource) -> Parsing[None]:
        name, _ = yield from source.until("(")
        source.start(name)
        source.arguments('{"a": ')
        yield from source.expect("1)")
        source.arguments("1}")
        source.end()

    events = parse(parser, ["f(", "1)"])[1].events
    assert [type(event) for event in events] == [CallStart, CallArguments, CallEnd]
    assert isinstance(events[2], CallEnd)
    assert (events[2].call.arguments, events[2].call.raw) == ('{"a": 1}', "f(1)")
