"""Progress is described in words, and a line of text remains."""

import pytest

from mlx_notebook.notebook.rendering import progress
from mlx_notebook.notebook.rendering.progress import TerminalBar, line


@pytest.mark.parametrize(
    ("event", "text"),
    [
        ((0, 0, None), "m: downloading"),
        ((1_000_000, 4_000_000, None), "m: downloading, 1.0 MB of 4.0 MB"),
        ((1_000_000, 4_000_000, 65), "m: downloading, 1.0 MB of 4.0 MB, 1 min 5 s left"),
    ],
)
def test_progress_in_words(event, text):
    done, total, left = event
    fields = {"phase": "downloading", "done": done, "total": total, "seconds_left": left}
    assert line("m", fields) == text


def test_every_other_phase_is_loading():
    event = {"phase": "warming up", "done": 0, "total": 0, "seconds_left": None}
    assert line("m", event) == "m: loading"


def test_a_terminal_shows_progress_and_a_file_only_the_end(monkeypatch, capsys):
    event = {"phase": "loading", "done": 1, "total": 2, "seconds_left": None}
    for is_terminal in (False, True):
        monkeypatch.setattr("sys.stdout.isatty", lambda shown=is_terminal: shown, raising=False)
        bar = TerminalBar("m")
        bar.update(event)
        bar.end("m is loaded.")
        out = capsys.readouterr().out
        assert out.rstrip().endswith("m is loaded.")
        assert ("m: loading, 1 bytes of 2 bytes" in out) is is_terminal


def test_updates_come_at_most_four_times_a_second(monkeypatch, capsys):
    now = 100.0
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    bar = TerminalBar("m")
    for _ in range(20):
        now += 0.05
        bar.update({"phase": "loading", "done": 1, "total": 2, "seconds_left": None})
    assert capsys.readouterr().out.count("\r") <= 5
