"""What a cell shows of a conversion."""

import pytest

from mlx_notebook.notebook.conversion.conversion_view import ConversionView
from mlx_notebook.notebook.conversion.convert import ConvertedModel


def job(**changes):
    state = {
        "title": "conversion of big to small",
        "state": "running",
        "phase": "quantising by AWQ",
        "done": 3,
        "total": 10,
        "unit": "layers",
        "seconds_left": 70.0,
        "notes": ["big is quantised already."],
    }
    return {**state, **changes}


def test_what_is_told_stays_and_the_result_replaces_the_progress(capsys: pytest.CaptureFixture):
    view = ConversionView(shown=True)
    view.update(job(), [])
    view.update(job(done=4), [])
    view.update(job(state="finished"), [])
    view.end("small is a model now.")
    lines = [line for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert lines[0] == "big is quantised already."
    assert lines[-1].endswith("small is a model now.")
    assert sum("already" in line for line in lines) == 1


def test_nothing_is_shown_if_not_wanted(capsys: pytest.CaptureFixture):
    view = ConversionView(shown=False)
    view.update(job(), [])
    view.update(job(state="failed"), [])
    view.end("done")
    assert capsys.readouterr().out == ""


def test_a_conversion_that_ends_otherwise_leaves_its_state(capsys: pytest.CaptureFixture):
    view = ConversionView(shown=True)
    view.update(job(notes=[]), [])
    view.update(job(notes=[], state="stopped"), [])
    assert "conversion of big to small: stopped." in capsys.readouterr().out


def test_the_result_says_what_the_conversion_cost():
    made = ConvertedModel(
        name="small",
        path="/models/small",
        bits_per_weight=4.5,
        bytes=2_250_000_000,
        bytes_before=8_000_000_000,
        perplexity=8.4,
        perplexity_before=8.0,
        tokens_checked=1200,
    )
    assert str(made) == (
        "small is a model now: 4.5 bits a weight, 2.2 GB in place of 8.0 GB. Perplexity of 1,200 "
        "tokens: 8.40, before 8.00 (+5.0 %)."
    )
