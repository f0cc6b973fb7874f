"""Tokens that a grammar leaves no choice about: the same ones at once and one by one."""

import json
import random
from functools import cache
from typing import Any

import numpy as np
import pytest
from transformers import AutoTokenizer

from mlx_notebook.engine.dialects import registry
from mlx_notebook.engine.grammar.grammar_tokenizer import GrammarTokenizer
from mlx_notebook.engine.grammar.matcher import MAX_FORCED, Grammar, Matcher, Trigger
from mlx_notebook.engine.prompts.output_grammar import GrammarCompiler
from mlx_notebook.protocol import OutputFormat, ToolChoice
from tests.engine import vocabularies
from tests.engine.writing import ENFORCED, NOW, PADDING, TOOLS, WEATHER, accepts, mask_of
from tests.hub import TINY_CHAT

NAMES = ("title", "weight in grams", "it's", "länge", "😀's", "数量", "a", "available_from_2024")
PATTERNS = ("2024-[01][0-9]", "(foo|foobar)baz", "hello( world)+ {1,3}[a-z]+", "don't|do", "\n+x")
TEN: dict[str, Any] = {
    "type": "object",
    "properties": {
        **{name: {"type": "string"} for name in ("title", "description", "category")},
        **{name: {"type": "integer"} for name in ("quantity", "price_in_cents", "weight_in_grams")},
        **{name: {"type": "boolean"} for name in ("available", "fragile")},
        "state": {"enum": ["new", "used", "refurbished"]},
        "ratings": {"type": "array", "items": {"type": "number"}},
    },
}
TEN["required"] = list(TEN["properties"])
ARTICLE = {
    "title": "A lamp",
    "description": "It's bright, isn't it?",
    "category": "Küche",
    "quantity": 12,
    "price_in_cents": 1999,
    "weight_in_grams": 1350,
    "available": True,
    "fragile": False,
    "state": "refurbished",
    "ratings": [4.5, 3],
}
KINDS = ("tiny_chat", "byte_level", "sentence_piece", "words_with_a_mark")


@cache
def made(kind: str) -> tuple[Any, GrammarCompiler]:
    """Return a tokenizer and the compiler of its grammars."""
    if kind == "tiny_chat":
        tokenizer = AutoTokenizer.from_pretrained(TINY_CHAT)
    else:
        tokenizer = getattr(vocabularies, kind)()
    width = len(tokenizer) + PADDING
    return tokenizer, GrammarCompiler(tokenizer, width, [tokenizer.eos_token_id])


def random_schema(rng: random.Random, depth: int = 0) -> dict[str, Any]:
    kind = rng.randrange(6) if depth else 0
    if kind == 0 and depth < 3:
        names = rng.sample(NAMES, rng.randint(1, 4))
        parts = {name: random_schema(rng, depth + 1) for name in names}
        return {"type": "object", "properties": parts, "required": names[: rng.randint(0, 4)]}
    if kind == 1:
        return {"enum": rng.sample(NAMES, rng.randint(1, 2))}
    if kind == 2:
        return {"const": rng.choice([" ".join(rng.choices(NAMES, k=4)), 12345, [True, None]])}
    if kind == 3:
        return {"type": "array", "items": random_schema(rng, depth + 1), "maxItems": 2}
    if kind == 4:
        return {"type": "string", "pattern": f"^{rng.choice(PATTERNS)}$"}
    return {"type": rng.choice(["string", "integer", "boolean", "null"])}


def grammars(compiler: GrammarCompiler, rng: random.Random) -> list[Grammar]:
    """Return grammars of every kind: schemas, patterns, and calls in every dialect."""
    outputs = [OutputFormat(kind="json_schema", value=random_schema(rng)) for _ in range(12)]
    outputs += [OutputFormat(kind="regex", value="".join(rng.choices(PATTERNS, k=3)))] * 3
    outputs.append(OutputFormat(kind="choice", value=["yes, of course", "yes, never", "no"]))
    found = [compiler.compile(output=output) for output in outputs]
    for name in ENFORCED:
        choice = ToolChoice(mode="required", parallel=rng.random() < 0.5)
        found.append(compiler.compile(dialect=registry.get(name), tools=TOOLS, choice=choice))
    return [grammar for grammar in found if grammar is not None]


def write(matcher: Matcher, tokenizer: Any, rng: random.Random, limit: int = 80) -> int:
    """Let a random model write, and check what is forced at every place; return how often."""
    width, forced = len(tokenizer) + PADDING, 0
    masked, run = matcher.copy(), list[int]()
    for _ in range(limit):
        now = matcher.forced()
        # The rest of a run is the same when it is asked for again, and when nobody asked before.
        assert now[: len(run)] == run
        fresh = masked.copy().forced()
        assert fresh[: len(now)] == now
        _, allowed = mask_of(masked, width)
        choices = np.flatnonzero(allowed).tolist()
        if now:
            assert choices == now[:1]
            forced += 1
        else:
            assert mask_of(matcher, width)[1].tolist() == allowed.tolist()
        closing = [t for t in choices if any(c in '"]},<\n' for c in tokenizer.decode([t]))]
        token = rng.choice(closing if closing and rng.random() < 0.4 else choices)
        if token == tokenizer.eos_token_id:
            break
        run = now[1:]
        for row in (matcher, masked):
            row.advance(token)
            assert row.failure is None
    return forced


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_forced_is_what_the_masks_allow_one_by_one(kind: str) -> None:
    tokenizer, compiler = made(kind)
    rng = random.Random(3)
    forced = sum(write(grammar.row(), tokenizer, rng) for grammar in grammars(compiler, rng))
    assert (forced > 300) == compiler.read_vocabulary().ll.is_canonical


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_at_once_leads_to_the_same_state(kind: str) -> None:
    tokenizer, compiler = made(kind)
    width = len(tokenizer) + PADDING
    for grammar in grammars(compiler, random.Random(5)):
        single, rng = grammar.row(), random.Random(1)
        for _ in range(20):
            at_once = single.copy()
            run = at_once.forced()
            for token in run:
                at_once.advance(token)
                assert mask_of(single, width)[1][token]
                single.advance(token)
            assert at_once.forced() == single.forced()[: len(at_once.forced())]
            (_, allowed), (_, expected) = mask_of(at_once, width), mask_of(single, width)
            assert allowed.tolist() == expected.tolist()
            token = rng.choice(np.flatnonzero(allowed).tolist())
            if token == tokenizer.eos_token_id:
                break
            single.advance(token)


def forced_in(matcher: Matcher, tokens: list[int]) -> int:
    """Let a model write `tokens`; return how many are forced. All of them must be its own."""
    count, ends = 0, 0
    for index, token in enumerate(tokens):
        run = matcher.forced()
        assert run == tokens[index : index + len(run)]
        count += len(run) > 0
        ends = max(ends, index + len(run))
        matcher.advance(token)
        assert matcher.failure is None
    assert ends <= len(tokens)
    return count


@pytest.mark.parametrize("kind", ["tiny_chat", "byte_level"])
def test_forced_tokens_are_the_ones_that_the_tokenizer_makes_of_the_text(kind: str) -> None:
    tokenizer, compiler = made(kind)
    grammar = compiler.compile(output=OutputFormat(kind="json_schema", value=TEN))
    assert grammar is not None
    tokens = tokenizer.encode(json.dumps(ARTICLE, ensure_ascii=False), add_special_tokens=False)
    assert forced_in(grammar.row(), tokens) > 0.4 * len(tokens)
    # tiny-chat has a token for "</" that llguidance does not use; its own dialect needs none.
    for name in ENFORCED if kind == "byte_level" else ["hermes"]:
        dialect = registry.get(name)
        calls = compiler.compile(dialect=dialect, tools=TOOLS, choice=ToolChoice(mode="required"))
        assert calls is not None
        text = dialect.write([NOW] if dialect.layout.single else [NOW, WEATHER])
        assert forced_in(calls.row(), tokenizer.encode(text, add_special_tokens=False)) > 1


def test_white_space_is_free_in_a_schema_too_large_for_two_notations() -> None:
    tokenizer, compiler = made("byte_level")
    parts = {f"key_{number}": {"type": "null"} for number in range(1_000)}
    large = {"type": "object", "properties": {"title": {"type": "null"}, **parts}}
    for properties, free in ((dict(list(parts.items())[:3]), False), (large["properties"], True)):
        schema = {"type": "object", "properties": properties}
        grammar = compiler.compile(output=OutputFormat(kind="json_schema", value=schema))
        assert accepts(grammar, '{"key_0": null}', tokenizer)
        assert accepts(grammar, '{\n  "key_0": null\n}', tokenizer) == free


def literal(kind: str, lark: str, **options: Any) -> tuple[Any, Grammar]:
    """Return a tokenizer, and the grammar that applies after `<a>`."""
    tokenizer, compiler = made(kind)
    tokens: GrammarTokenizer = compiler.read_vocabulary()
    matcher = tokens.matcher(f"start: {lark}\n", check=False)
    return tokenizer, Grammar(tokens, None, [Trigger(b"<a>", matcher, **options)])


def test_text_is_forced_right_after_a_trigger() -> None:
    tokenizer, grammar = literal("byte_level", '"yes, of course" /[0-9]+/', again=True)
    row = grammar.row()
    for token in tokenizer.encode("Well <a>", add_special_tokens=False):
        assert row.forced() == []
        row.advance(token)
    assert tokenizer.decode(row.forced()) == "yes, of course"


def test_nothing_is_forced_once_a_grammar_is_complete() -> None:
    for again in (True, False):
        tokenizer, grammar = literal("byte_level", '"yes"', again=again)
        row = grammar.row()
        for token in tokenizer.encode("<a>", add_special_tokens=False):
            row.advance(token)
        run = row.forced()
        assert tokenizer.decode(run) == "yes"
        for token in run:
            row.advance(token)
        assert row.forced() == []
        used, allowed = mask_of(row, len(tokenizer) + PADDING)
        assert used != again
        assert allowed.sum() == 1 or again


def test_a_word_that_may_go_on_is_not_cut() -> None:
    tokenizer, compiler = made("byte_level")
    grammar = compiler.compile(output=OutputFormat(kind="regex", value="I think the weath(er)?"))
    assert grammar is not None
    run = grammar.row().forced()
    assert tokenizer.decode(run) == "I think the"
    assert len(tokenizer.encode(" weather", add_special_tokens=False)) == 1


def test_a_text_that_splits_in_another_way_from_its_middle_on_is_forced_as_masks_allow_it() -> None:
    tokenizer, compiler = made("words_with_a_mark")
    text = "\U0001f600's"
    whole = tokenizer.encode(text, add_special_tokens=False)
    assert whole[-1] != tokenizer.encode("'s", add_special_tokens=False)[-1]
    grammar = compiler.compile(output=OutputFormat(kind="choice", value=[text]))
    assert grammar is not None
    run = grammar.row().forced()
    assert tokenizer.decode(run) == text
    row = grammar.row()
    for token in run:
        assert mask_of(row, len(tokenizer) + PADDING)[1].nonzero()[0].tolist() == [token]
        row.advance(token)


def test_a_long_text_is_forced_in_parts() -> None:
    tokenizer, compiler = made("byte_level")
    text = "get_weather 3 " * 40
    grammar = compiler.compile(output=OutputFormat(kind="choice", value=[text]))
    assert grammar is not None
    row, written = grammar.row(), list[int]()
    while run := row.forced():
        assert len(run) <= MAX_FORCED
        for token in run:
            row.advance(token)
        written += run
    assert tokenizer.decode(written) == text
    assert row.failure is None


def test_a_token_that_is_not_the_forced_one_ends_the_run() -> None:
    tokenizer, compiler = made("byte_level")
    grammar = compiler.compile(output=OutputFormat(kind="choice", value=["get_weather now"]))
    assert grammar is not None
    row = grammar.row()
    assert row.forced()
    row.advance(tokenizer.encode("x", add_special_tokens=False)[0])
    assert row.failure is not None
    assert row.forced() == []


def test_a_copy_goes_its_own_way() -> None:
    tokenizer, compiler = made("byte_level")
    grammar = compiler.compile(output=OutputFormat(kind="choice", value=["yes now", "no, never"]))
    assert grammar is not None
    row = grammar.row()
    twin = row.copy()
    for token in tokenizer.encode("no", add_special_tokens=False):
        twin.advance(token)
    assert tokenizer.decode(twin.forced()) == ", never"
    for token in tokenizer.encode("yes", add_special_tokens=False):
        row.advance(token)
    assert tokenizer.decode(row.forced()) == " now"
    assert tokenizer.decode(twin.forced()) == ", never"
