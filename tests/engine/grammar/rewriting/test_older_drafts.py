"""Schemas of older drafts say the same in the words of draft 2020-12."""

from typing import Any

import pytest

from mlx_notebook.engine.grammar.rewriting.older_drafts import as_2020_12

TEXT = {"type": "string"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"minimum": 1, "exclusiveMinimum": True}, {"exclusiveMinimum": 1}),
        ({"maximum": 1, "exclusiveMaximum": False}, {"maximum": 1}),
        ({"items": [TEXT], "additionalItems": False}, {"prefixItems": [TEXT], "items": False}),
        ({"items": TEXT, "additionalItems": False}, {"items": TEXT}),
        ({"$schema": "http://json-schema.org/draft-04/schema#", "id": "http://a/b"}, {}),
        ({"properties": {"id": TEXT, "items": TEXT}}, {"properties": {"id": TEXT, "items": TEXT}}),
        ({"enum": [{"id": "x", "items": [1]}]}, {"enum": [{"id": "x", "items": [1]}]}),
        (True, True),
    ],
)
def test_keywords_of_older_drafts(old: Any, new: Any) -> None:
    assert as_2020_12(old) == new


@pytest.mark.parametrize(
    ("reference", "target", "root"),
    [
        ("#t", {"id": "#t"}, {}),
        ("#t", {"$id": "#t"}, {"$id": "http://a/b.json"}),
        ("#t", {"$anchor": "t"}, {}),
        ("http://a/b.json#t", {"$anchor": "t"}, {"$id": "http://a/b.json"}),
        ("http://a/b.json#/$defs/x", {}, {"$id": "http://a/b.json"}),
        ("b.json#/$defs/x", {}, {"id": "http://a/b.json#"}),
        ("other.json", {"$id": "other.json"}, {"$id": "http://a/b.json"}),
    ],
)
def test_a_reference_by_name_becomes_one_by_place(
    reference: str, target: dict[str, Any], root: dict[str, Any]
) -> None:
    schema = {**root, "items": {"$ref": reference}, "$defs": {"x": {**target, **TEXT}}}
    assert as_2020_12(schema) == {"items": {"$ref": "#/$defs/x"}, "$defs": {"x": TEXT}}


def test_the_schema_itself_by_reference() -> None:
    schema = {"$recursiveAnchor": True, "items": {"$recursiveRef": "#"}}
    assert as_2020_12(schema) == {"items": {"$ref": "#"}}
    addressed = {"$id": "http://a/b", "items": {"$ref": "http://a/b#"}}
    assert as_2020_12(addressed) == {"items": {"$ref": "#"}}


def test_a_part_with_an_address_may_refer_to_the_whole() -> None:
    part = {"id": "/properties/a", "items": {"$ref": "#/definitions/x"}}
    schema = {"properties": {"a": part}, "definitions": {"x": TEXT}}
    written = as_2020_12(schema)
    assert written["properties"]["a"] == {"items": {"$ref": "#/definitions/x"}}


def test_a_reference_to_another_document_stays() -> None:
    schema = {"$id": "http://a/b", "items": {"$ref": "http://c/d#/x"}}
    assert as_2020_12(schema) == {"items": {"$ref": "http://c/d#/x"}}
