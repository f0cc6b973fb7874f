"""Arrays whose items must differ: no answer repeats an item, and none comes to a dead end."""

import json
import random
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from transformers import AutoTokenizer

from mlx_notebook.engine.dialects.reasoning import HARMONY, THINK, ReasoningMarks
from mlx_notebook.engine.grammar.mask import words
from mlx_notebook.engine.grammar.matcher import Matcher
from mlx_notebook.engine.prompts.output_grammar import GrammarCompiler, ReasoningState
from mlx_notebook.engine.sandbox.grammar_errors import GrammarError
from mlx_notebook.protocol import OutputFormat
from tests.engine.writing import PADDING
from tests.hub import TINY_CHAT


def array(items: Any, least: int, most: int) -> dict[str, Any]:
    limits = {"minItems": least, "maxItems": most}
    return {"type": "array", "items": items, "uniqueItems": True, **limits}


CLOSED: dict[str, Any] = {
    "type": "object",
    "properties": {"k": {"enum": ["a", "b"]}, "f": {"type": "boolean"}, "g": {"enum": [1, 2]}},
    "required": ["k", "f"],
}
NAMED: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 1}, "f": {"type": "boolean"}},
    "required": ["name", "f"],
}
ARRAYS: dict[str, Any] = {
    "short texts": array({"type": "string", "maxLength": 2}, 6, 9),
    "all texts of a list": array({"enum": ["a", "aa", "ab", "abc", 'x"y', "é"]}, 6, 9),
    "all of a range": array({"type": "integer", "minimum": -3, "maximum": 5}, 9, 20),
    "fractions": array({"type": "number", "minimum": 0, "maximum": 1}, 3, 5),
    "all objects that there are": array(CLOSED, 12, 30),
    "objects with a name": array(NAMED, 5, 7),
    "objects with any key": array(
        {"type": "object", "additionalProperties": {"enum": [1, 2]}, "maxProperties": 1}, 2, 3
    ),
    "arrays of arrays": array(array({"type": "boolean"}, 1, 2), 4, 4),
    "values of several types": array(
        {"anyOf": [{"type": "integer"}, {"enum": ["a", None, True, 1.0]}]}, 6, 8
    ),
    "a first item and other texts": {
        **array({"type": "string", "maxLength": 1}, 2, 4),
        "prefixItems": [{"enum": ["a", "b"]}],
    },
    "a reference, and a property with the keyword's name": {
        "$defs": {"list": array({"type": "string", "maxLength": 1}, 3, 4)},
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/list"}, "uniqueItems": {"type": "boolean"}},
        "required": ["a", "uniqueItems"],
    },
}


@pytest.fixture(scope="module")
def compiler() -> GrammarCompiler:
    tokenizer = AutoTokenizer.from_pretrained(TINY_CHAT)
    return GrammarCompiler(tokenizer, len(tokenizer) + PADDING, [tokenizer.eos_token_id])


def row(compiler: GrammarCompiler, schema: Any, **options: Any) -> Matcher:
    grammar = compiler.compile(output=OutputFormat(kind="json_schema", value=schema), **options)
    assert grammar is not None
    return grammar.row()


def allowed(compiler: GrammarCompiler, matcher: Matcher) -> list[int]:
    mask = np.zeros(words(compiler.read_vocabulary().width), np.uint32)
    assert matcher.fill(mask)
    assert matcher.failure is None
    bits = np.unpackbits(mask.view(np.uint8), bitorder="little")
    return [int(token) for token in np.flatnonzero(bits)]


def write(compiler: GrammarCompiler, matcher: Matcher, choose: random.Random) -> bytes | None:
    """Write any allowed token, or those that must follow; None if the answer is very long."""
    tokens, data = compiler.read_vocabulary(), b""
    for _ in range(400):
        run = matcher.forced() if choose.random() < 0.5 else []
        if not run:
            found = allowed(compiler, matcher)
            assert found, "a dead end"
            if not set(found) - tokens.eos:
                return data
            run = [choose.choice([token for token in found if token not in tokens.eos])]
        for token in run:
            matcher.advance(token)
            assert matcher.failure is None
            data += tokens.bytes_of(token)
    return None


@pytest.mark.parametrize("name", ARRAYS)
def test_items_differ_and_there_is_always_a_way_on(compiler: GrammarCompiler, name: str) -> None:
    schema, choose, written = ARRAYS[name], random.Random(name), 0
    for _ in range(12):
        data = write(compiler, row(compiler, schema), choose)
        if data is not None:
            Draft202012Validator(schema).validate(json.loads(data))
            written += 1
    assert written > 1


def after(compiler: GrammarCompiler, matcher: Matcher, text: bytes) -> set[bytes]:
    tokens = compiler.read_vocabulary()
    for token in tokens.encode(text):
        matcher.advance(token)
    return {tokens.bytes_of(token) for token in allowed(compiler, matcher)}


def test_a_text_may_begin_like_an_earlier_one_and_not_end_there(compiler: GrammarCompiler) -> None:
    schema = {"type": "array", "items": {"type": "string"}, "uniqueItems": True}
    following = after(compiler, row(compiler, schema), b'["ab", "ab')
    assert b'"' not in following
    assert b"c" in following
    assert b'"' in after(compiler, row(compiler, schema), b'["ab", "a')


def test_a_copy_does_not_share_what_was_written(compiler: GrammarCompiler) -> None:
    schema = {"type": "array", "items": {"type": "string"}, "uniqueItems": True}
    matcher = row(compiler, schema)
    after(compiler, matcher, b'["a", "')
    twin = matcher.copy()
    after(compiler, twin, b'b", "')
    assert b'"' not in after(compiler, twin, b"b")
    assert b'"' in after(compiler, matcher, b"b")


@pytest.mark.parametrize(
    ("marks", "state", "before"),
    [
        (THINK, "open", b'I list ["a", "a"].\n</think>\n\n'),
        (THINK, "optional", b'<think>\n["a", "a"]\n</think>\n\n'),
        (THINK, "optional", b""),
        (HARMONY, "none", b"<|channel|>final<|message|>"),
    ],
)
def test_the_value_may_follow_reasoning(
    compiler: GrammarCompiler, marks: ReasoningMarks, state: ReasoningState, before: bytes
) -> None:
    schema = {"type": "array", "items": {"type": "string"}, "uniqueItems": True}
    matcher = row(compiler, schema, reasoning=marks, reasoning_state=state)
    assert b'"' not in after(compiler, matcher, before + b'["a", "a')


def test_a_reference_by_name_is_followed(compiler: GrammarCompiler) -> None:
    schema = {
        "items": {"$ref": "#list"},
        "type": "array",
        "$defs": {"x": {"$anchor": "list", **array({"type": "string"}, 2, 2)}},
    }
    assert b'"' not in after(compiler, row(compiler, schema), b'[["a", "a')


def test_a_reference_that_leads_elsewhere_keeps_the_refusal(compiler: GrammarCompiler) -> None:
    schema = {"type": "array", "items": {"$ref": "http://a/b"}, "uniqueItems": True}
    with pytest.raises(GrammarError):
        row(compiler, schema)
