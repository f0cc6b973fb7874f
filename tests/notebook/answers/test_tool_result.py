"""What a tool returns becomes text, JSON and images for the model."""

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


class Rich:
    def _repr_markdown_(self):
        return "**rich**"


class Model(BaseModel):
    at: datetime.date


@dataclasses.dataclass
class Point:
    x: int


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


def test_images_become_image_parts_also_beside_text():
    image = Image.new("RGB", (4, 2))
    alone, beside = content_of(image), content_of(["a plot:", image, 3])
    assert image_parts(alone) == alone
    assert [part["type"] for part in beside] == ["text", "image_url", "text"]
    assert text_of(beside) == "a plot:\n[image]\n3"
    assert image_parts("text") == []
