"""A streaming answer costs what its text is long, and ends as static Markdown."""

import re
from types import SimpleNamespace

import pytest

from mlx_notebook.notebook.answers.answer import Delta
from mlx_notebook.notebook.answers.tool_call import ToolCall
from mlx_notebook.notebook.rendering import cell_renderer
from mlx_notebook.notebook.rendering.cell_renderer import (
    CellRenderer,
    reasoning_block,
)
from tests.notebook.example_answers import answer_of


class Outputs:
    """Stands where a frontend would, and counts what it is sent."""

    def __init__(self, monkeypatch):
        self.shown, self.sent, self.updates, self.clock = [], 0, 0, 0.0
        monkeypatch.setattr(cell_renderer, "_display", self._display)
        monkeypatch.setattr(cell_renderer.time, "monotonic", lambda: self.clock)

    def _display(self, markdown, plain=""):
        index = len(self.shown)
        self.shown.append(None)

        def update(bundle, raw):
            self.shown[index] = bundle
            self.updates += 1
            self.sent += len(bundle["text/markdown"])

        update(cell_renderer._bundle(markdown, plain), True)
        return SimpleNamespace(update=update)


def stream(outputs, view, text, kind="content", tokens_per_second=50, size=4):
    for start in range(0, len(text), size):
        outputs.clock += 1 / tokens_per_second
        view.add(Delta(kind, text[start : start + size]))


PARAGRAPH = "Some words that make a paragraph of an ordinary length, as models write them. " * 5
LONG = {
    "paragraphs": (PARAGRAPH + "\n\n") * 50,
    "one code block": "```python\n" + "print('a line of code')\n" * 900 + "```\n",
    "one line": "word " * 4000,
}


@pytest.mark.parametrize("kind", LONG)
def test_what_is_sent_grows_as_the_text_not_as_its_square(monkeypatch, kind):
    costs = []
    for part in (4, 1):
        outputs, view = Outputs(monkeypatch), CellRenderer()
        text = LONG[kind][: len(LONG[kind]) // part]
        view.begin("m")
        stream(outputs, view, text)
        view.end(answer_of(text))
        costs.append(outputs.sent / len(text))
    # Four times the text may cost a little more a character, never four times as much.
    assert costs[1] < 2 * costs[0]
    # Far under the 100 characters sent for each of the text that whole replacements would take.
    assert costs[1] < 130


def test_at_most_ten_updates_a_second_and_all_of_the_text_at_the_end(monkeypatch):
    outputs, view = Outputs(monkeypatch), CellRenderer()
    view.begin("m")
    stream(outputs, view, PARAGRAPH, tokens_per_second=1000)
    assert outputs.updates <= 2 + outputs.clock / 0.1 + 2
    view.end(answer_of(PARAGRAPH))
    assert outputs.shown[0] == {"text/markdown": PARAGRAPH, "text/plain": PARAGRAPH}
    assert outputs.shown[1] == {"text/markdown": "<small>m</small>", "text/plain": "m"}


def test_both_outputs_together_show_all_that_was_taken(monkeypatch):
    outputs, view = Outputs(monkeypatch), CellRenderer()
    text = LONG["paragraphs"]
    view.begin("m")
    for start in range(0, len(text), 40):
        outputs.clock += 1
        view.add(Delta("content", text[start : start + 40]))
        joined = "".join(output["text/markdown"] for output in outputs.shown)
        assert joined == text[: start + 40]


def test_reasoning_is_open_while_it_runs_and_closed_after(monkeypatch):
    outputs, view = Outputs(monkeypatch), CellRenderer()
    view.begin("m")
    stream(outputs, view, "I think <b> that", kind="reasoning")
    assert outputs.shown[-1]["text/markdown"].startswith("<details open>")
    stream(outputs, view, "It is so.")
    assert outputs.shown[0]["text/markdown"].startswith("<details><summary>Reasoning, 4 words")
    view.end(answer_of("It is so.", "I think <b> that"))
    assert "I think &lt;b&gt; that</p></details>\n\nIt is so." in outputs.shown[0]["text/markdown"]


def test_no_reasoning_can_leave_its_block():
    block = reasoning_block("</p></details>\n\n<script>x</script> $a$ \\(b\\)", running=False)
    assert set(re.findall(r"</?\w+>", block)) == {
        "<details>", "<summary>", "</summary>", "<p>", "<br>", "<span>", "</span>", "</p>",
        "</details>",
    }  # fmt: skip
    assert block.count("</details>") == block.count("</p>") == 1
    assert block.strip().count("\n") == 0


def test_the_name_of_a_call_that_is_being_written_is_nothing_but_text(monkeypatch):
    outputs = Outputs(monkeypatch)
    view = CellRenderer()
    view.begin("m")
    outputs.clock += 1
    view.add(Delta("writing", call=ToolCall("1", "![a](http://x/?b) <b> `c` $d$")))
    (shown,) = [bundle["text/markdown"] for bundle in outputs.shown]
    assert shown.startswith("<small>calling ")
    assert not set("[]`$<>") & set(shown.removeprefix("<small>").removesuffix("</small>"))
