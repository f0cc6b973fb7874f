"""What the sidebar of JupyterLab learns from a kernel."""

import base64
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import mlx_notebook
from mlx_notebook.notebook.sidebar.kernel_answers import answer


def ask(namespace: dict[str, Any], **question: Any) -> Any:
    asked = base64.b64encode(json.dumps(question).encode()).decode()
    given = answer(namespace, asked)
    # JupyterLab reads it from the `repr` of the text.
    assert repr(given) == f"'{given}'"
    return json.loads(base64.b64decode(given))


def text_of(namespace: dict[str, Any], name: str, characters: int = 4000) -> str:
    [part] = ask(namespace, variable=name, characters=characters)
    assert part["type"] == "text"
    return str(part["text"])


def test_a_table_is_its_schema_and_a_few_rows() -> None:
    table = pd.DataFrame({"city": ["Oslo", "Bergen"] * 500, "degrees": [3.5, 7.25] * 500})
    said = text_of({"df": table}, "df")
    assert said.startswith(f"columns: city ({table.dtypes['city']}), degrees (float64)\n")
    assert "1000 x 2 (rows x columns)" in said
    assert "0,Oslo,3.5" in said
    assert "more rows" in said
    assert len(said) < 2500
    assert len(text_of({"df": table}, "df", 100)) < 200


def test_an_array_is_its_shape_and_any_value_is_text() -> None:
    space = {"array": np.zeros((3, 4)), "names": ["ä", "'b'"], "text": "as\nit is"}
    assert text_of(space, "array").startswith("array of shape (3, 4), float64")
    assert text_of(space, "names") == '["ä","\'b\'"]'
    assert text_of(space, "text") == "as\nit is"


def test_a_figure_is_an_image() -> None:
    [part] = ask({"figure": Image.new("RGB", (8, 8))}, variable="figure", characters=100)
    assert part["image_url"]["url"].startswith("data:image/png;base64,")


class Broken:
    def _repr_markdown_(self) -> str:
        raise ValueError("it is broken")


@pytest.mark.parametrize(
    ("name", "why"), [("gone", "There is no variable 'gone'"), ("broken", "it is broken")]
)
def test_a_variable_that_cannot_be_described_is_told(name: str, why: str) -> None:
    assert why in ask({"broken": Broken()}, variable=name, characters=100)["problem"]


@mlx_notebook.tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@mlx_notebook.tool
async def fail() -> None:
    """Fail."""
    raise ValueError("no luck")


SPACE = {"add": add, "again": add, "fail": fail, "_hidden": fail}


def call(name: str, arguments: str) -> Any:
    return ask(SPACE, call=name, arguments=arguments, id="1")


def test_the_notebooks_tools_are_found_and_called() -> None:
    tools = ask(SPACE, tools=True)
    assert [tool["function"]["name"] for tool in tools] == ["add", "fail"]
    done = call("add", '{"a": 17, "b": 25}')
    assert done["call"] == "add(a=17, b=25)"
    assert (done["state"], done["content"]) == ("done", "42")
    assert done["seconds"] >= 0


@pytest.mark.parametrize(
    ("name", "arguments", "why"),
    [
        ("fail", "{}", "ValueError: no luck"),
        ("add", '{"a": "x"}', "a"),
        ("add", "{", "JSON"),
        ("gone", "{}", "There is no tool 'gone'"),
    ],
)
def test_a_call_that_fails_says_why_to_the_model(name: str, arguments: str, why: str) -> None:
    failed = call(name, arguments)
    assert failed["state"] == "failed"
    assert why in failed["content"]
