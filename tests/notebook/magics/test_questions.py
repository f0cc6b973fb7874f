"""A prompt or a text may end with a question mark, which IPython reads as a request for help."""

import pytest

from mlx_notebook.notebook.magics.magics import protect_questions


@pytest.mark.parametrize(
    ("line", "magic", "text"),
    [
        ("%chat What is this?\n", "chat", "What is this?"),
        ("    %chat -t 0 Why?\n", "chat", "-t 0 Why?"),
        ("%mlx tokens How many tokens is this?\n", "mlx", "tokens How many tokens is this?"),
    ],
)
def test_a_text_that_asks_is_a_text(line: str, magic: str, text: str) -> None:
    (made,) = protect_questions([line])
    assert made.strip() == f"get_ipython().run_line_magic({magic!r}, {text!r})"


@pytest.mark.parametrize("line", ["%chat?\n", "%mlx?\n", "%mlx status?\n", "what?\n", "%%chat ?\n"])
def test_a_request_for_help_is_left_alone(line: str) -> None:
    assert protect_questions([line]) == [line]
