"""Objects of the notebook are described to a model within a budget; results of tools likewise."""

import dataclasses
import datetime

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pydantic import BaseModel

from mlx_notebook.notebook.answers.tool_result import (
    RESULT_CHARACTERS,
    content_of,
    image_parts,
    text_of,
)
from mlx_notebook.notebook.inputs.as_text import INPUT_CHARACTERS, as_text, trimmed
from mlx_notebook.notebook.inputs.prompt_templates import fill


class Rich:
    def _repr_markdown_(self):
        return "**rich**"


class Model(BaseModel):
    at: datetime.date


@dataclasses.dataclass
class Point:
    x: int


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


@pytest.mark.parametrize(
    ("value", "content"),
    [
        ("as it is", "as it is"),
        (None, "Done."),
        (3.5, "3.5"),
        (True, "true"),
        ({"a": [1, None]}, '{"a":[1,null]}'),
        (Model(at=datetime.date(2026, 1, 2)), '{"at":"2026-01-02"}'),
        (Point(1), '{"x":1}'),
        ({1}, "[1]"),
        (np.int64(3), "3"),
        ({"a": np.float64(0.5)}, '{"a":0.5}'),
        ([np.arange(2)], "[[0,1]]"),
        (float("nan"), "NaN"),
        (b"bytes", "bytes"),
        (Rich(), "**rich**"),
        (object, "<class 'object'>"),
    ],
)
def test_results_become_text_or_json(value, content):
    assert content_of(value) == content or content_of(value) == f'"{content}"'


def test_results_that_refer_to_themselves_or_are_long_stay_bounded():
    loop = []
    loop.append(loop)
    assert content_of(loop) == "[[...]]"
    assert len(content_of("x" * 10**6)) < RESULT_CHARACTERS + 100
    assert content_of(pd.DataFrame({"a": [1]})).startswith("table of 1 x 1")


def test_pictures_become_image_parts_also_beside_text():
    image = Image.new("RGB", (4, 2))
    alone, beside = content_of(image), content_of(["a plot:", image, 3])
    assert image_parts(alone) == alone
    assert [part["type"] for part in beside] == ["text", "image_url", "text"]
    assert text_of(beside) == "a plot:\n[image]\n3"
    assert image_parts("text") == []
