"""What remains of a chat model's answer. `|` is the gap."""

import pytest

from mlx_notebook.engine.dialects.output_events import Content
from mlx_notebook.engine.dialects.output_reader import MarkerReader
from mlx_notebook.engine.infilling.chat_code import ChatCode
from mlx_notebook.engine.infilling.code_end import CodeEnd
from mlx_notebook.engine.infilling.gap_place import place_of
from mlx_notebook.engine.infilling.gap_reader import GapReader
from mlx_notebook.protocol import FillPrompt

GAP = "def add(a, b):\n    return |\n\nprint(add(1, 2))"


def remains(answer: str, *, code: str = GAP, step: int = 1) -> str:
    prefix, _, suffix = code.partition("|")
    kept = ChatCode(prefix, place_of(FillPrompt(prefix=prefix, suffix=suffix)))
    shown = [kept.feed(answer[at : at + step]) for at in range(0, len(answer), step)]
    return "".join(shown) + kept.finish()


CASES = {
    "an answer that goes on is kept": ("a + b", "a + b"),
    "what follows the closing fence is dropped": ("a + b\n```\nThis adds.", "a + b\n"),
    "a fence that opens again is dropped": ("```python\na + b\n```", "a + b\n"),
    "a closing fence at the beginning is an empty text": ("```\nHere it is.", ""),
    "the line before the gap is not repeated": ("    return a + b\n", "a + b\n"),
    "nor without its indentation": ("return a + b", "a + b"),
    "nor the lines before it": (
        "```python\ndef add(a, b):\n    return a + b\n```",
        "a + b\n",
    ),
    "the line after the gap is not repeated": ("a + b\n\nprint(add(1, 2))\nmore", "a + b\n\n"),
    "nor at the end": ("a + b\n\nprint(add(1, 2))", "a + b\n\n"),
    "a line that begins as the next one is kept": ("a + b\nprint(add)", "a + b\nprint(add)"),
    "backquotes inside of a line are kept": ("a  # ```b```\n", "a  # ```b```\n"),
    "an answer may end while it is undecided": ("retur", "retur"),
    "an empty answer is an empty text": ("", ""),
}


@pytest.mark.parametrize("step", [1, 4, 1000])
@pytest.mark.parametrize("case", CASES)
def test_only_the_text_of_the_gap_remains(case: str, step: int) -> None:
    answer, expected = CASES[case]
    assert remains(answer, step=step) == expected


def test_text_is_shown_as_soon_as_it_is_certain() -> None:
    kept = ChatCode("x = 1\ny = ", place_of(FillPrompt(prefix="x = 1\ny = ", suffix="")))
    assert [kept.feed(part) for part in ("y", " =", " ", "2", "\n", "`")] == [
        "",
        "",
        "",
        "2",
        "\n",
        "",
    ]


def read(answer: str, stop: list[str] | None = None) -> tuple[str, str | None]:
    prompt = FillPrompt(prefix=GAP.partition("|")[0], suffix=GAP.partition("|")[2])
    place = place_of(prompt)
    filters = [ChatCode(prompt.prefix, place), CodeEnd(place)]
    reader = GapReader(MarkerReader(stop=stop or []), filters)
    events = [event for character in answer for event in reader.feed(character)]
    stopped = reader.stopped
    events += reader.finish(cut=False)
    assert all(isinstance(event, Content) and event.text for event in events)
    return "".join(event.text for event in events if isinstance(event, Content)), stopped


def test_a_reader_stops_its_row_when_a_filter_ends_the_text() -> None:
    assert read("return a + b\n\nprint") == ("a + b", "")
    assert read("a + b\n```") == ("a + b", "")
    assert read("a + b") == ("a + b", None)


def test_stop_strings_end_the_text_too() -> None:
    assert read("a + b", stop=[" +"]) == ("a", " +")
