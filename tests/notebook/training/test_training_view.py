"""What a cell shows of a training: words, a chart that is an image, and tables, all escaped."""

from typing import Any
from xml.etree import ElementTree

import pytest

from mlx_notebook.notebook.training.loss_chart import in_words, loss_chart, loss_rows
from mlx_notebook.notebook.training.training_view import TrainingView

JOB = {
    "title": "fine-tuning of tiny-chat as facts",
    "state": "running",
    "phase": "training",
    "done": 3,
    "total": 10,
    "unit": "steps",
    "seconds_left": 65.0,
    "started": 100.0,
    "ended": None,
    "notes": ["1 of 5 examples is left out."],
    "message": None,
}


def record(name: str, **values: Any) -> dict[str, Any]:
    return {"number": 1, "name": name, "values": values}


RECORDS = [
    record("validation", step=0, loss=4.0),
    record("train", step=1, loss=3.0, tokens_per_second=1200.0),
    record("sample", step=0, number=0, prompt="Who?", expected="Ada.", text="<script>x</script>"),
    record("sample", step=3, number=0, prompt="Who?", expected="Ada.", text="Ada."),
    record("validation", step=3, loss=1.5),
]


def test_a_script_prints_notes_once_and_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    view = TrainingView(shown=True)
    view.update(JOB, RECORDS)
    view.update({**JOB, "state": "finished", "done": 10, "seconds_left": None, "ended": 130.0}, [])
    assert capsys.readouterr().out == (
        "1 of 5 examples is left out.\n"
        "fine-tuning of tiny-chat as facts: done, step 10 of 10, in 30 s, training loss from "
        "3.000 to 3.000, validation loss from 4.000 to 1.500\n"
    )


def test_a_cell_shows_progress_a_chart_and_what_the_model_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown: list[dict[str, str]] = []

    class Handle:
        def update(self, data: dict[str, str], *, raw: bool) -> None:
            shown.append(data)

    def display(data: dict[str, str], *, raw: bool, display_id: bool) -> Handle:
        shown.append(data)
        return Handle()

    module = "mlx_notebook.notebook.training.training_view"
    monkeypatch.setattr(f"{module}.shows_rich_output", lambda: True)
    monkeypatch.setattr("IPython.display.display", display)
    view = TrainingView(shown=True)
    view.update(JOB, RECORDS)
    words, image = shown
    assert words["text/plain"].startswith(
        "fine-tuning of tiny-chat as facts: step 3 of 10, 1,200 tokens/s, 1 min 5 s left"
    )
    markup = words["text/html"]
    assert '<progress value="3" max="10"' in markup
    assert "&lt;script&gt;" in markup
    assert "<script>" not in markup
    assert "After 3 steps" in markup
    assert "<td>0</td><td></td><td>4.000</td>" in markup
    assert image["text/plain"].endswith("validation loss from 4.000 to 1.500")
    drawn = ElementTree.fromstring(image["image/svg+xml"])
    assert drawn.attrib["aria-label"] == image["text/plain"]
    view.update({**JOB, "state": "stopped", "message": "A checkpoint is saved."}, [])
    assert "A checkpoint is saved." in shown[2]["text/html"]
    assert "<progress" not in shown[2]["text/html"]


def test_a_long_curve_has_few_points_and_keeps_its_end() -> None:
    train = [(step, 1 / step) for step in range(1, 10_001)]
    drawn = ElementTree.fromstring(loss_chart(train, [], 10_000))
    line = next(iter(drawn.iter("{http://www.w3.org/2000/svg}polyline")))
    assert len(line.attrib["points"].split()) < 300
    assert in_words(train, []) == "training loss from 1.000 to 0.000"
    rows = loss_rows(train, [(step, 1.0) for step in range(0, 10_000, 100)])
    assert len(rows) <= 13
    assert rows[-1][0] == 9900


def test_a_loss_that_is_no_number_breaks_no_chart() -> None:
    ElementTree.fromstring(loss_chart([(1, 2.0), (2, float("nan"))], [(0, float("inf"))], 2))
