"""Where the text of a gap ends. `|` is the gap."""

import pytest

from mlx_notebook.engine.infilling.code_end import CodeEnd
from mlx_notebook.engine.infilling.gap_place import place_of
from mlx_notebook.protocol import FillPrompt


def ended(
    code: str, text: str, *, step: int = 1, single_line: bool | None = None, comment: str = "#"
) -> str:
    """Return the part of a text that belongs in the gap of some code."""
    prefix, _, suffix = code.partition("|")
    prompt = FillPrompt(prefix=prefix, suffix=suffix, single_line=single_line, comment=comment)
    end = CodeEnd(place_of(prompt))
    shown = [end.feed(text[at : at + step]) for at in range(0, len(text), step)]
    return "".join(shown) + end.finish()


CASES = {
    "a statement of the same block goes on": (
        "x = 1\n|",
        "y = 2\nz = 3",
        "y = 2\nz = 3",
    ),
    "a blank line ends the text": ("x = 1\n|", "y = 2\n\nz = 3", "y = 2"),
    "a blank line at the beginning does not": ("import os|", "\n\n\nx = 1", "\n\n\nx = 1"),
    "white space at the end is dropped": ("x = |", "1  \n   ", "1"),
    "nothing but white space is nothing": ("x = |", "  \n \n", ""),
    "a block ends before less indentation": (
        "def f(x):\n    |",
        "y = x\n    return y\nprint(f(1))\n",
        "y = x\n    return y",
    ),
    "the model may indent the first line itself": (
        "def f(x):\n|",
        "    y = x\n    return y\nprint(f(1))",
        "    y = x\n    return y",
    ),
    "the block of the gap's line ends with it": (
        "def f(x):|",
        "\n    return x\nprint(f(1))",
        "\n    return x",
    ),
    "a block that the text begins ends with it": (
        "for x in |",
        "range(3):\n    print(x)\nprint('done')",
        "range(3):\n    print(x)",
    ),
    "else goes on with the block": (
        "if a:|",
        "\n    b()\nelse:\n    c()\nd()",
        "\n    b()\nelse:\n    c()",
    ),
    "a name that begins as else does not": (
        "if a:|",
        "\n    b()\nelsewhere()\n",
        "\n    b()",
    ),
    "a whole function is one block": (
        "|",
        "def f(x):\n    return x\n\ndef g():\n    pass",
        "def f(x):\n    return x",
    ),
    "a colon in a comment begins no block": (
        "x = 1\n|",
        "y = 2  # note:\nz = 3",
        "y = 2  # note:\nz = 3",
    ),
    "own brackets are closed first": (
        "x = |",
        "[\n    1,\n\n    2,\n]\ny = 1\n\nz",
        "[\n    1,\n\n    2,\n]\ny = 1",
    ),
    "a long string is one thing": (
        "x = |",
        '"""\na\n\n b\n"""\n\ny = 1',
        '"""\na\n\n b\n"""',
    ),
    "text after the gap makes it one line": ("x = | + 1", "y\nz = 3", "y"),
    "the text after the gap is not repeated": ("x = | + 1", "y + 1\nz", "y"),
    "it is not found inside brackets": ("x = | + 1", "f(y + 1)\n", "f(y + 1)"),
    "nor inside strings": ("for x in |:", "d[':']:\n    pass", "d[':']"),
    "a bracket that is there is not closed again": ("print(|)", "f(x))\n", "f(x)"),
    "several brackets are not closed again": ("print(f(|))", "x))\n", "x"),
    "a bracket that is missing is closed": ("print(f(|)", "x))\n", "x)"),
    "a bracket is closed where nothing follows": ("print(|", "x)\ny = 1\n\n", "x)\ny = 1"),
    "no bracket is closed that was not opened": ("x = |", "1)\n", "1"),
    "a quote that is there is not closed again": ('print("|")', 'hello")\n', "hello"),
    "brackets in strings do not count": ('print("(", |)', '")", x)', '")", x'),
    "the next line is not repeated": (
        "def f(x):\n    |\n    return y",
        "y = x + 1\n    return y\n",
        "y = x + 1",
    ),
    "nor is it if the text ends with it": (
        "def f(x):\n    |\n    return y",
        "y = x + 1\n    return y",
        "y = x + 1",
    ),
    "a line that only begins as the next one belongs to the text": (
        "def f(x):\n    |\n    return y",
        "y = x\n    return y2",
        "y = x\n    return y2",
    ),
    "the line after the cursor is not repeated": ("    |x = 1", "x = 1\ny", ""),
    "braces end the block of the gap": (
        "function f() {\n  |",
        "return 1;\n}\nf();\n",
        "return 1;\n}",
    ),
    "braces that are there are not closed again": (
        "function f() {\n  |\n}\n",
        "return 1;\n}\nf();\n",
        "return 1;",
    ),
}


@pytest.mark.parametrize("step", [1, 3, 1000])
@pytest.mark.parametrize("case", CASES)
def test_the_text_of_a_gap_ends_where_it_should(case: str, step: int) -> None:
    code, text, expected = CASES[case]
    comment = "//" if "function" in code else "#"
    assert ended(code, text, step=step, comment=comment) == expected


def test_one_line_can_be_asked_for_and_several_too() -> None:
    assert ended("x = 1\n|", "y = 2\nz = 3", single_line=True) == "y = 2"
    assert ended("x = (|) + 1", "1,\n2", single_line=False) == "1,\n2"


def test_text_is_shown_as_soon_as_it_is_certain() -> None:
    end = CodeEnd(place_of(FillPrompt(prefix="x = ", suffix="\nreturn x")))
    assert [end.feed(c) for c in "y \nre"] == ["y", "", "", "", ""]
    assert end.feed("s") == " \nres"
    assert not end.ended
