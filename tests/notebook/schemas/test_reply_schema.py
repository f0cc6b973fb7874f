"""A type is asked for as a JSON schema, and the reply becomes its object."""

import dataclasses

import pytest

from mlx_notebook.notebook.errors import NotebookError, NotParsed
from mlx_notebook.notebook.schemas.reply_schema import parsed, response_format


@dataclasses.dataclass
class City:
    name: str
    people: int


def test_a_type_is_described_and_read_back():
    asked = response_format(City)["json_schema"]
    assert asked["name"] == "City"
    assert asked["schema"]["required"] == ["name", "people"]
    assert parsed('{"name": "Oslo", "people": 700000}', City) == City("Oslo", 700_000)


def test_a_json_schema_is_sent_as_it_is_and_gives_decoded_json():
    schema = {"type": "array"}
    assert response_format(schema)["json_schema"] == {"name": "answer", "schema": schema}
    assert parsed("[1]", schema) == [1]


def test_a_generic_type_has_a_name_that_the_api_accepts():
    assert response_format(list[City])["json_schema"]["name"].isidentifier()


@pytest.mark.parametrize(
    ("text", "schema", "message"),
    [
        ('{"name": "Os', City, "does not fit the schema: Invalid JSON"),
        ('{"name": "Oslo", "people": "many"}', City, "does not fit the schema: people: "),
        ("[1", {"type": "array"}, "The reply is not JSON"),
    ],
)
def test_a_reply_that_does_not_fit_is_one_sentence(text, schema, message):
    with pytest.raises(NotParsed, match=message):
        parsed(text, schema)


def test_what_is_no_type_is_one_sentence():
    with pytest.raises(NotebookError, match="cannot be used as a schema"):
        response_format(print)
