"""Objects of the notebook are described to a model within a budget; results of tools likewise."""

import numpy as np
import pandas as pd

from mlx_notebook.notebook.inputs.as_text import INPUT_CHARACTERS, as_text, trimmed
from mlx_notebook.notebook.inputs.prompt_templates import fill


class Rich:
    def _repr_markdown_(self):
        return "**rich**"


def test_a_table_gives_its_shape_and_first_rows():
    table = pd.DataFrame({"city": ["Paris", "Rome"], "degrees": [21, 30]})
    assert as_text(table) == (
        "table of 2 x 2 (rows x columns):\n,city,degrees\n0,Paris,21\n1,Rome,30"
    )
    assert as_text(table["degrees"]).startswith("table of 2 values:\n,degrees\n0,21")
    long = as_text(pd.DataFrame({"n": range(100_000)}))
    assert len(long) < INPUT_CHARACTERS + 200
    assert "99999" not in long
    assert " more rows …]" in long


def test_arrays_exceptions_and_markdown_are_described():
    assert as_text(np.arange(3)) == "array of shape (3,), int64:\n[0 1 2]"
    assert as_text(Rich()) == "**rich**"
    try:
        {}["key"]
    except KeyError as error:
        said = as_text(error)
    assert said.startswith("Traceback")
    assert said.endswith("KeyError: 'key'")
    assert as_text("text") is as_text(3) is as_text([1]) is as_text(Rich) is None


def test_a_text_beyond_its_budget_loses_its_middle():
    assert trimmed("abc", 3) == "abc"
    said = trimmed("a" * 50 + "b" * 50, 30)
    assert said == "a" * 20 + "\n[… 70 characters left out …]\n" + "b" * 10


def test_prompts_are_filled_with_descriptions():
    names = {"table": pd.DataFrame({"a": [1]}), "long": list(range(9999)), "text": "x" * 9999}
    assert fill("{{ table }}", names.get) == "table of 1 x 1 (rows x columns):\n,a\n0,1"
    assert "characters left out" in fill("{{ long }}", names.get)
    assert fill("{{ text }}", names.get) == names["text"]
