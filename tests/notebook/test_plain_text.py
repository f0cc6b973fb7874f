"""Control sequences and invisible characters are removed or shown."""

from mlx_notebook.notebook.plain_text import ControlFilter


def test_a_sequence_that_never_ends_holds_nothing_back():
    cleaned = ControlFilter()
    said = "".join(cleaned.feed("\x1b]0;" + "x" * 600) for _ in range(3)) + cleaned.end()
    assert said.count("x") == 1800
    assert "\x1b" not in said
