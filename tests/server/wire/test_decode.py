from typing import Annotated, Literal

import msgspec
import pytest

from mlx_notebook.server.errors import InvalidRequest
from mlx_notebook.server.wire.decode import converted, decode


class Inner(msgspec.Struct):
    text: str


class Circle(msgspec.Struct, tag_field="kind", tag="circle"):
    """A shape."""


class Square(msgspec.Struct, tag_field="kind", tag="square"):
    """Another one."""

    fill: Literal["red", "blue"] | None = None


class Outer(msgspec.Struct):
    items: list[Inner]
    shapes: list[Circle | Square] = []
    number: float = 0.0
    share: Annotated[float, msgspec.Meta(ge=0.0, le=2.5)] = 0.0
    count: Annotated[int, msgspec.Meta(ge=1, le=2147483647)] = 1


DECODER = msgspec.json.Decoder(Outer)


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        ("{}", "items", "needs 'items'"),
        ('{"items": [{}]}', "items[0].text", "needs 'items\\[0\\].text'"),
        ('{"items": [{"text": 1}]}', "items[0].text", "expected `str`, got `int`"),
        ('{"items": [{"text": "\\ud800"}]}', "items[0].text", "lone surrogate"),
        ('{"items": [], "number": NaN}', "number", "not a finite number"),
        ('{"items": [], "number": -Infinity}', "number", "not a finite number"),
        ('{"items": [], "x": 100000000000000000000}', "x", "64 bits"),
        ('{"items": [], "share": 9}', "share", "'share' must be between 0 and 2.5; you gave 9\\."),
        (
            '{"items": [], "share": -1}',
            "share",
            "between 0 and 2.5; you gave -1\\.",
        ),
        (
            '{"items": [], "count": 9999999999}',
            "count",
            "at most 2147483647; you gave 9999999999\\.",
        ),
        (
            '{"items": [], "shapes": [{"kind": "circle"}, {"kind": "star"}]}',
            "shapes[1].kind",
            "invalid value 'star'\\. Use one of: circle, square\\.",
        ),
        (
            '{"items": [], "shapes": [{"kind": "square", "fill": "green"}]}',
            "shapes[0].fill",
            "invalid enum value 'green'\\. Use one of: blue, red\\.",
        ),
        ("[1]", None, "expected `object`, got `array`"),
        ("{", None, "not JSON"),
        ("  ", None, "empty"),
        ('{"items": [], "x": ' + "[" * 50_000, None, "deep|JSON"),
    ],
)
def test_an_error_names_the_invalid_value(body: str, param: str | None, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message) as caught:
        decode(DECODER, body.encode())
    assert caught.value.param == param
    assert caught.value.status_code == 400


def test_a_valid_body_is_decoded() -> None:
    assert decode(DECODER, b'{"items": [{"text": "a"}], "extra": 1}') == Outer([Inner("a")])


def test_an_error_in_a_part_says_which_words_are_possible() -> None:
    with pytest.raises(InvalidRequest, match="Use one of: blue, red") as caught:
        converted({"kind": "square", "fill": "green"}, Square, "shape")
    assert caught.value.param == "shape.fill"
