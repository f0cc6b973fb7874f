"""Schemas with keywords that llguidance does not enforce: what is written fulfils the original."""

import json
import random
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator, FormatChecker
from transformers import AutoTokenizer

from mlx_notebook.engine.grammar.grammar_tokenizer import GrammarTokenizer
from mlx_notebook.engine.grammar.lark import LarkRules
from mlx_notebook.engine.grammar.schema_exclusion import exclude
from mlx_notebook.engine.grammar.schema_rewrites import enforceable
from mlx_notebook.engine.grammar.schemas import close_objects
from mlx_notebook.engine.sandbox.grammar_errors import GrammarError
from tests.engine.writing import PADDING
from tests.hub import TINY_CHAT

TEXT, WHOLE = {"type": "string", "maxLength": 3}, {"type": "integer", "minimum": 0, "maximum": 9}
AB = {"type": "object", "properties": {"a": TEXT, "b": WHOLE}}
COLOURS = {"enum": ["red", "green", "blue"]}
FLAG = {"type": "boolean"}


def object_of(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


FORMATS = FormatChecker(("uri-reference", "json-pointer", "date-time"))

# Each was refused before.
REWRITTEN: dict[str, Any] = {
    "a format that nobody knows": {"type": "string", "format": "phone", "maxLength": 5},
    "a number's format": object_of(("n",), n={"type": "integer", "format": "int32", "maximum": 9}),
    "one of two objects with other keys": {
        "oneOf": [object_of(("a",), a=TEXT), object_of(("b",), b=WHOLE)]
    },
    "one of two references": {
        "oneOf": [{"$ref": "#/$defs/x"}, {"$ref": "#/$defs/y"}],
        "$defs": {"x": object_of(("a",), a=TEXT), "y": object_of(("b",), b=WHOLE)},
    },
    "exactly one of two keys": {**AB, "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
    "exactly one of three keys": {
        **object_of(("d",), a=TEXT, b=TEXT, c=TEXT, d=FLAG),
        "oneOf": [{"required": [name]} for name in "abc"],
    },
    "unique colours": {"type": "array", "items": COLOURS, "uniqueItems": True},
    "two unique colours": {"type": "array", "items": COLOURS, "uniqueItems": True, "minItems": 2},
    "unique flags": {"type": "array", "items": FLAG, "uniqueItems": True},
    "items that may repeat": {"type": "array", "items": FLAG, "uniqueItems": False, "maxItems": 4},
    "a key that needs another": {**AB, "dependentRequired": {"a": ["b"]}},
    "keys that need each other": {**AB, "dependentRequired": {"a": ["b"], "b": ["a"]}},
    "the older name of that": {**AB, "dependencies": {"b": ["a"]}},
    "a key that changes another": {
        **object_of((), kind=COLOURS, a=TEXT),
        "dependentSchemas": {"a": object_of(("kind",), kind={"const": "red"})},
    },
    "a condition on a constant": {
        **object_of(("kind",), kind=COLOURS, a=TEXT, b=WHOLE),
        "if": {"properties": {"kind": {"const": "red"}}},
        "then": {"required": ["a"]},
        "else": {"required": ["b"]},
    },
    "a condition on a key that may be missing": {
        **object_of((), flag=FLAG, a=TEXT),
        "if": {"properties": {"flag": {"const": True}}, "required": ["flag"]},
        "then": {"required": ["a"]},
    },
    "a condition that holds where the key is missing": {
        **object_of((), flag=FLAG, a=TEXT),
        "if": {"properties": {"flag": {"const": True}}},
        "then": {"required": ["a"]},
        "else": {"properties": {"a": False}},
    },
    "not one of the values": {"enum": ["a", "b", 1, True], "not": {"enum": ["a", 1]}},
    "not with a key": {**AB, "not": {"required": ["a"]}},
    "not null": {"type": ["string", "null"], "maxLength": 4, "not": {"type": "null"}},
    "names by a pattern": {
        "type": "object",
        "propertyNames": {"pattern": "^k[0-9]$"},
        "additionalProperties": WHOLE,
        "maxProperties": 3,
    },
    "names from a list": {
        "type": "object",
        "propertyNames": {"enum": ["x", "y"]},
        "additionalProperties": WHOLE,
    },
    "no unevaluated keys": {**AB, "unevaluatedProperties": False},
    "branches that overlap in a value": {"oneOf": [{"enum": [1, 2]}, {"enum": [2.0, 3, 4]}]},
    "one of some texts or another text": {
        "oneOf": [{"type": "string", "maxLength": 2}, {"enum": ["a", "b", "long"]}]
    },
    "one of objects of which one may have a key of the other": {
        "oneOf": [object_of(("a",), a=TEXT, b=WHOLE), object_of(("b",), b=WHOLE, c=FLAG)]
    },
    "exactly one of two pairs of keys": {
        **object_of((), a=TEXT, b=TEXT, c=TEXT, d=TEXT),
        "oneOf": [{"required": ["a", "b"]}, {"required": ["c", "d"]}],
    },
    "one of several beside any of several": {
        "anyOf": [{"maxLength": 2}, {"minimum": 3}],
        "oneOf": [{"type": "string"}, {"type": "integer"}],
    },
    "a condition on a text": {
        **object_of(("a",), a=TEXT, b=WHOLE),
        "if": {"properties": {"a": {"const": "x"}}},
        "then": {"required": ["b"]},
        "else": {"properties": {"b": False}},
    },
    "several conditions": {
        **object_of(("kind",), kind=COLOURS, a=TEXT, b=WHOLE),
        "allOf": [
            {"if": {"properties": {"kind": {"const": name}}}, "then": {"required": [key]}}
            for name, key in (("red", "a"), ("green", "b"))
        ],
    },
    "a condition on a key": {**AB, "if": {"required": ["a"]}, "then": {"required": ["b"]}},
    "a condition on two keys": {
        **object_of((), kind=COLOURS, flag=FLAG, a=TEXT),
        "if": {
            "properties": {"kind": {"not": {"const": "red"}}, "flag": {"const": True}},
            "required": ["kind", "flag"],
        },
        "then": {"required": ["a"]},
        "else": {"properties": {"a": False}},
    },
    "a condition of any of two": {
        **object_of((), a=TEXT, b=TEXT, c=TEXT),
        "if": {"anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
        "then": {"required": ["c"]},
        "else": {"properties": {"c": False}},
    },
    "not both keys": {**AB, "not": {"required": ["a", "b"]}},
    "neither of two keys": {
        **object_of((), a=TEXT, b=TEXT, c=FLAG, d=FLAG),
        "not": {"anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
    },
    "not a text": {"type": "string", "maxLength": 1, "not": {"enum": ["", "a", "]", "-"]}},
    "not an object": {"not": {"type": ["object", "array", "string"]}},
    "not a value of a key": {
        **object_of(("kind",), kind=COLOURS, flag=FLAG),
        "not": {"properties": {"kind": {"const": "red"}}, "required": ["kind"]},
    },
    "names beside declared ones": {
        **object_of((), k1=FLAG, other=FLAG),
        "propertyNames": {"pattern": "^k[0-9]$"},
        "additionalProperties": True,
    },
    "names of some length": {
        "type": "object",
        "propertyNames": {"minLength": 1, "maxLength": 2},
        "additionalProperties": WHOLE,
        "maxProperties": 2,
    },
    "names of a pattern and some length": {
        "type": "object",
        "propertyNames": {"type": "string", "pattern": "^[a-c]+$", "maxLength": 2},
        "additionalProperties": WHOLE,
        "maxProperties": 2,
    },
    "names that are texts": {**AB, "propertyNames": {"type": "string"}},
    "names from a list with patterns": {
        "type": "object",
        "propertyNames": {"enum": ["xa", "yb"]},
        "patternProperties": {"^x": FLAG},
        "additionalProperties": WHOLE,
    },
    "names but some, beside declared ones": {
        **object_of((), a=FLAG),
        "propertyNames": {"not": {"enum": ["b"]}},
        "additionalProperties": WHOLE,
    },
    "any of the keys and not the other": {
        **object_of((), a=TEXT, b=WHOLE),
        "anyOf": [
            {"required": ["a"], "not": {"required": ["b"]}},
            {"required": ["b"], "not": {"required": ["a"]}},
            {"not": {"required": ["a", "b"]}},
        ],
    },
    "one of two lists": {
        "oneOf": [
            {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 2},
            {"type": "array", "items": {"enum": ["c", "d"]}, "maxItems": 2},
        ]
    },
    "one of two objects that do not say so": {
        "oneOf": [
            {"properties": {"a": TEXT}, "required": ["a"]},
            {"properties": {"b": WHOLE}, "required": ["b"]},
        ]
    },
    "one of two objects whose kind is required beside them": {
        "type": "object",
        "required": ["kind"],
        "oneOf": [
            object_of(("a",), kind={"const": "a"}, a=TEXT),
            {"properties": {"kind": {"const": "b"}, "b": WHOLE}},
        ],
    },
    "exactly one of two keys, with titles": {
        **AB,
        "oneOf": [{"required": ["a"], "title": "A"}, {"required": ["b"], "title": "B"}],
    },
    "a condition of an object or a number": {
        "type": ["number", "object"],
        "properties": {"kind": COLOURS, "a": WHOLE},
        "minimum": 0,
        "maximum": 9,
        "allOf": [
            {"if": {"properties": {"kind": {"const": "red"}}}, "then": {"required": ["a"]}},
        ],
    },
    "a condition on null": {
        **object_of((), a={"type": ["string", "null"], "maxLength": 2}, b=WHOLE),
        "if": {"not": {"properties": {"a": {"const": None}}}},
        "then": {"properties": {"b": {"const": 1}}},
    },
    "one of the declared keys at least": {**object_of((), a=TEXT, b=WHOLE), "minProperties": 1},
    "two of three keys at most": {**object_of((), a=FLAG, b=FLAG, c=FLAG), "maxProperties": 2},
    "a reference to an address": {"type": "string", "format": "uri-reference", "maxLength": 12},
    "a place in a value": {"type": "string", "format": "json-pointer", "maxLength": 6},
    "a time": {"type": "string", "format": "time"},
    "inside another schema": object_of(
        ("list",), list={"type": "array", "items": {**AB, "dependentRequired": {"a": ["b"]}}}
    ),
}

# What is said of them is as before: a 400 that names the keyword.
REFUSED: dict[str, Any] = {
    "branches that may both hold": {"oneOf": [object_of((), a=TEXT), object_of((), b=TEXT)]},
    "unique texts": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
    "unique values with another keyword": {
        "type": "array",
        "items": COLOURS,
        "uniqueItems": True,
        "contains": {"const": "red"},
    },
    "a condition on a number": {
        **object_of(("b",), a=TEXT, b=WHOLE),
        "if": {"properties": {"b": {"minimum": 4}}},
        "then": {"required": ["a"]},
    },
    "not a pattern": {"type": "string", "not": {"pattern": "^a"}},
    "a format that no pattern says": {"type": "string", "format": "idn-hostname"},
    "a key that an array must have": {
        **AB,
        "dependentSchemas": {"a": {"properties": {"b": {"contains": {"const": 1}}}}},
    },
}


@pytest.fixture(scope="module")
def tokens() -> GrammarTokenizer:
    tokenizer = AutoTokenizer.from_pretrained(TINY_CHAT)
    return GrammarTokenizer(tokenizer, len(tokenizer) + PADDING, [tokenizer.eos_token_id])


def compiled(tokens: GrammarTokenizer, schema: Any) -> Any:
    rules = LarkRules(tokens.special)
    start = rules.json_line(close_objects(enforceable(schema, close_objects)), strict=True)
    return tokens.matcher(rules.render(start), check=False)


def written(tokens: GrammarTokenizer, matcher: Any, choose: random.Random) -> Any:
    """Let the grammar write a value: any allowed token at each place, an end where it may end."""
    matcher, data = matcher.deep_copy(), b""
    for _ in range(300):
        if matcher.is_accepting() and choose.random() < 0.7:
            break
        mask = np.zeros((tokens.width + 31) // 32, np.uint32)
        matcher.unsafe_compute_mask_ptr(mask.ctypes.data, mask.nbytes)
        bits = np.unpackbits(mask.view(np.uint8), bitorder="little")
        allowed = [token for token in np.flatnonzero(bits).tolist() if token not in tokens.eos]
        if not allowed:
            break
        token = choose.choice(allowed)
        assert matcher.try_consume_tokens([token]) == 1
        data += tokens.bytes_of(token)
    else:
        return None
    assert matcher.is_accepting()
    return json.loads(data)


@pytest.mark.parametrize("name", REWRITTEN)
def test_what_is_written_fulfils_the_original_schema(tokens: GrammarTokenizer, name: str) -> None:
    schema, choose = REWRITTEN[name], random.Random(name)
    matcher, seen = compiled(tokens, schema), set()
    for _ in range(25):
        value = written(tokens, matcher, choose)
        if value is not None:
            Draft202012Validator(schema, format_checker=FORMATS).validate(value)
            seen.add(json.dumps(value))
    assert len(seen) > 1, "the rewritten schema leaves a choice"


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_rewritten_exactly_is_refused(tokens: GrammarTokenizer, name: str) -> None:
    with pytest.raises(GrammarError):
        compiled(tokens, REFUSED[name])


@pytest.mark.parametrize("name", REWRITTEN)
def test_a_schema_that_was_given_is_not_changed(name: str) -> None:
    before = json.dumps(REWRITTEN[name])
    enforceable(REWRITTEN[name], close_objects)
    assert json.dumps(REWRITTEN[name]) == before


@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [
        ({"type": "string"}, {"type": ["integer", "null"]}, True),
        ({"type": "integer"}, {"type": "number"}, False),
        ({"const": 1}, {"enum": [True, "1"]}, True),
        ({"const": 1}, {"const": 1.0}, False),
        (True, {"type": "string"}, False),
        (False, {"type": "string"}, True),
        (object_of(("k",), k={"const": 1}), object_of((), k={"const": 2}), True),
        (object_of((), k={"const": 1}), object_of((), k={"const": 2}), False),
        (object_of(("k",), k=TEXT), {"type": "object", "additionalProperties": False}, True),
        (object_of(("k",), k=TEXT), {"type": "object"}, False),
        (object_of(("k",), k=TEXT), {"properties": {"k": False}}, True),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, {"type": "number"}, True),
        ({"anyOf": [{"type": "string"}, {"type": "number"}]}, {"type": "number"}, False),
        ({"$ref": "#/$defs/a"}, {"type": "number"}, True),
        ({"$ref": "#/$defs/loop"}, {"type": "number"}, False),
    ],
)
def test_schemas_exclude_each_other(one: Any, other: Any, apart: bool) -> None:
    root = {"$defs": {"a": {"type": "string"}, "loop": {"$ref": "#/$defs/loop"}}}
    assert exclude(one, other, root) is apart
    assert exclude(other, one, root) is apart
