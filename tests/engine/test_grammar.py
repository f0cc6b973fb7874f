"""Constraints at work: what a grammar lets through is valid, and what is valid gets through."""

import json
import random
import re
import threading
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from transformers import AutoTokenizer

from mlx_notebook import demo_models
from mlx_notebook.engine import reasoning
from mlx_notebook.engine.grammar.compiler import Compiler
from mlx_notebook.engine.grammar.errors import GrammarError, NotEnforceable
from mlx_notebook.engine.grammar.matcher import Grammar, Matcher
from mlx_notebook.engine.parsers import registry
from mlx_notebook.engine.parsers.events import Call, CallEnd, CallFailed, Content, Thinking
from mlx_notebook.engine.parsers.harmony_reader import HarmonyReader
from mlx_notebook.engine.parsers.reader import Reader
from mlx_notebook.engine.parsers.tags import Tags
from mlx_notebook.engine.parsers.tools import Tools
from mlx_notebook.messages import OutputFormat, ToolChoice
from tests.engine import vocabularies

PADDING = 21
ENFORCED = [name for name in registry.names() if type(registry.get(name)).__name__ != "Adapter"]
WEATHER_SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer", "minimum": 1, "maximum": 14},
        "unit": {"enum": ["C", "F"]},
        "exact": {"type": "boolean"},
        "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 2},
        "place": {"$ref": "#/$defs/place"},
    },
    "required": ["city", "days"],
    "$defs": {
        "place": {
            "type": "object",
            "properties": {"lat": {"type": "number"}, "note": {"type": ["string", "null"]}},
            "required": ["lat"],
        }
    },
}
TOOLS = Tools.of(
    [
        {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER_SCHEMA}},
        {"type": "function", "function": {"name": "now"}},
    ]
)
WEATHER = Call(
    "get_weather",
    '{"city": "Zürich \\"x\\"", "days": 3, "unit": "F", "exact": true, "tags": ["a, b"], '
    '"place": {"lat": 47.4, "note": null}}',
)
NOW = Call("now", "{}")


def compiler(kind: str = "byte_level") -> Compiler:
    tokenizer = getattr(vocabularies, kind)()
    return Compiler(tokenizer, len(tokenizer) + PADDING, [tokenizer.eos_token_id])


BYTES = compiler()
PIECES = compiler("sentence_piece")
TOKENIZER = vocabularies.byte_level()
EOS = TOKENIZER.eos_token_id


def mask_of(matcher: Matcher, width: int) -> tuple[bool, np.ndarray]:
    mask = np.full((width + 31) // 32, 0xFFFFFFFF, np.uint32)
    used = matcher.fill(mask)
    return used, np.unpackbits(mask.view(np.uint8), bitorder="little")[:width].astype(bool)


def accepts(
    grammar: Grammar | None, text: str, tokenizer: Any = TOKENIZER, *, ends: bool = True
) -> bool:
    """Whether a model may write `text` token by token, and (with `ends`) stop there."""
    assert grammar is not None
    matcher = grammar.row()
    tokens = tokenizer.encode(text, add_special_tokens=False)
    for token in [*tokens, tokenizer.eos_token_id] if ends else tokens:
        _, allowed = mask_of(matcher, len(tokenizer) + PADDING)
        if not allowed[token]:
            return False
        matcher.advance(token)
        assert matcher.error is None
    return True


def babble(grammar: Grammar, seed: int, ending: str = "", limit: int = 600) -> str | None:
    """What a model that knows nothing writes under a grammar; None if it does not come to an end.

    It likes quotes, brackets and the text `ending` better than others, or no string would end.
    """
    rng = random.Random(seed)
    matcher = grammar.row()
    width = len(TOKENIZER) + PADDING
    tokens: list[int] = []
    endings = TOKENIZER.encode(ending)
    while len(tokens) < limit:
        if rng.random() < 0.1 and _write(matcher, endings, width):
            tokens += endings
            continue
        used, allowed = mask_of(matcher, width)
        assert used
        choices = np.flatnonzero(allowed).tolist()
        assert choices
        assert max(choices) < len(TOKENIZER)
        if EOS in choices and rng.random() < 0.5:
            return str(TOKENIZER.decode(tokens))
        closers = [t for t in choices if re.search(r'["\]})<\n]', TOKENIZER.decode([t]))]
        pool = closers if closers and rng.random() < 0.3 else choices
        token = rng.choice(pool)
        if token == EOS:
            return str(TOKENIZER.decode(tokens))
        tokens.append(token)
        matcher.advance(token)
        assert matcher.error is None
    return None


def _write(matcher: Matcher, tokens: list[int], width: int) -> bool:
    """Write all of `tokens` if the grammar lets them through; say whether."""
    active = matcher._active
    if not tokens or active is None or active.validate_tokens(tokens) < len(tokens):
        return False
    for token in tokens:
        assert mask_of(matcher, width)[1][token]
        matcher.advance(token)
    return True


def read(name: str, text: str) -> list[Any]:
    dialect = registry.get(name)
    if name == "harmony":
        reader: Any = HarmonyReader(dialect, TOOLS)  # type: ignore[arg-type]
    else:
        reader = Reader(dialect, TOOLS)
    return [*reader.feed(text), *reader.finish(cut=False)]


# --- tool calls -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ENFORCED)
@pytest.mark.parametrize("kind", ["byte_level", "sentence_piece"])
def test_calls_as_the_dialect_writes_them_may_be_made(name: str, kind: str) -> None:
    dialect = registry.get(name)
    tokenizer = getattr(vocabularies, kind)()
    made = BYTES if kind == "byte_level" else PIECES
    grammar = made.compile(dialect=dialect, tools=TOOLS, choice=ToolChoice(mode="required"))
    assert accepts(grammar, dialect.write([WEATHER]), tokenizer)
    assert accepts(grammar, dialect.write([NOW]), tokenizer)
    assert accepts(grammar, dialect.write([NOW, WEATHER]), tokenizer) != dialect.layout.single


@pytest.mark.parametrize("name", ENFORCED)
def test_a_required_call_admits_nothing_else(name: str) -> None:
    dialect = registry.get(name)
    grammar = BYTES.compile(dialect=dialect, tools=TOOLS, choice=ToolChoice(mode="required"))
    assert not accepts(grammar, "Hello")
    assert not accepts(grammar, "")
    assert not accepts(grammar, dialect.write([Call("launch", "{}")]))
    assert not accepts(grammar, dialect.write([Call("get_weather", '{"days": 3}')]))
    assert not accepts(grammar, dialect.write([Call("get_weather", '{"city": "X"}')]))
    assert not accepts(grammar, dialect.write([Call("now", '{"city": "X"}')]))


@pytest.mark.parametrize("name", ENFORCED)
def test_without_parallel_calls_the_answer_ends_after_one(name: str) -> None:
    dialect = registry.get(name)
    choice = ToolChoice(mode="required", parallel=False)
    grammar = BYTES.compile(dialect=dialect, tools=TOOLS, choice=choice)
    assert accepts(grammar, dialect.write([NOW]))
    assert not accepts(grammar, dialect.write([NOW, NOW]))


@pytest.mark.parametrize("name", ENFORCED)
def test_a_model_that_knows_nothing_can_only_make_valid_calls(name: str) -> None:
    dialect = registry.get(name)
    grammar = BYTES.compile(dialect=dialect, tools=TOOLS, choice=ToolChoice(mode="required"))
    assert grammar is not None
    finished = 0
    ending = dialect._after_value() if isinstance(dialect, Tags) else ""
    ending = getattr(dialect, "string_mark", ending)
    for seed in range(12):
        text = babble(grammar, seed, ending)
        if text is None:
            continue
        finished += 1
        events = read(name, text)
        assert not [event for event in events if isinstance(event, CallFailed | Content)], text
        calls = [event.call for event in events if isinstance(event, CallEnd)]
        assert calls, text
        for call in calls:
            if call.name == "get_weather":
                jsonschema.validate(json.loads(call.arguments), WEATHER_SCHEMA)
            else:
                assert (call.name, json.loads(call.arguments)) == ("now", {})
    assert finished >= 6


@pytest.mark.parametrize("name", [name for name in ENFORCED if name != "llama_pythonic"])
@pytest.mark.parametrize("kind", ["byte_level", "sentence_piece"])
def test_with_auto_text_is_free_until_a_call_is_opened(name: str, kind: str) -> None:
    dialect = registry.get(name)
    tokenizer = getattr(vocabularies, kind)()
    made = BYTES if kind == "byte_level" else PIECES
    grammar = made.compile(dialect=dialect, tools=TOOLS, choice=ToolChoice(mode="auto"))
    first = any(start.first for start, _ in dialect.triggers())
    before = "" if first else "I look. "

    def admitted(*calls: Call) -> bool:
        return accepts(grammar, before + dialect.write(list(calls)), tokenizer)

    assert accepts(grammar, "Any text, <b>marks</b> and {braces}.", tokenizer)
    assert admitted(WEATHER)
    if kind == "byte_level" and not dialect.layout.single:
        # The other vocabulary has tokens that reach over the end of a region: they are not taken.
        assert admitted(WEATHER, NOW)
    assert not admitted(Call("launch", "{}"))
    assert not admitted(Call("get_weather", '{"days": 99}'))


def test_the_embedded_models_own_vocabulary_is_enforced() -> None:
    folder = Path(demo_models.__file__).parent / "tiny-chat"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    made = Compiler(tokenizer, len(tokenizer) + PADDING, [tokenizer.eos_token_id])
    dialect = registry.infer(tokenizer.chat_template, tokenizer.get_vocab())
    assert dialect is not None
    options: dict[str, Any] = {
        "dialect": dialect,
        "tools": TOOLS,
        "reasoning": reasoning.infer(tokenizer.chat_template, tokenizer.get_vocab()),
    }
    required = made.compile(choice=ToolChoice(mode="required"), **options)
    assert accepts(required, dialect.write([WEATHER, NOW]), tokenizer)
    assert not accepts(required, dialect.write([Call("launch", "{}")]), tokenizer)
    thinking = made.compile(choice=ToolChoice(mode="required"), thinking="optional", **options)
    assert accepts(thinking, "<think>\nHm\n</think>\n\n" + dialect.write([NOW]), tokenizer)
    free = made.compile(**options)
    assert accepts(
        free, "Hello. " + dialect.write([WEATHER]) + "\n" + dialect.write([NOW]), tokenizer
    )
    assert not accepts(free, "Hello. " + dialect.write([Call("launch", "{}")]), tokenizer)


@pytest.mark.parametrize("name", ["hermes", "qwen3_coder", "gemma_tool_code", "mistral_list"])
def test_after_a_free_call_text_is_free_again_unless_calls_may_not_be_parallel(name: str) -> None:
    dialect = registry.get(name)
    text = "A " + dialect.write([NOW])
    many = BYTES.compile(dialect=dialect, tools=TOOLS)
    one = BYTES.compile(dialect=dialect, tools=TOOLS, choice=ToolChoice(parallel=False))
    assert accepts(many, f"{text} and more {dialect.write([WEATHER])}")
    assert accepts(one, text)
    assert not accepts(one, f"{text} and more")


def test_only_the_allowed_tools_may_be_called() -> None:
    dialect = registry.get("hermes")
    for mode in ("auto", "required"):
        choice = ToolChoice(mode=mode, names=["now"])  # type: ignore[arg-type]
        grammar = BYTES.compile(dialect=dialect, tools=TOOLS.only(["now"]), choice=choice)
        assert accepts(grammar, dialect.write([NOW]))
        assert not accepts(grammar, dialect.write([WEATHER]))


def test_a_bare_object_in_llamas_dialect_is_free_unless_it_begins_like_a_call() -> None:
    grammar = BYTES.compile(dialect=registry.get("llama"), tools=TOOLS)
    assert accepts(grammar, '{"answer": 42}')
    assert accepts(grammar, 'Look: {"name": "launch"}')
    assert not accepts(grammar, '{"name": "launch", "parameters": {}}')
    assert accepts(grammar, '<|python_tag|>{"name": "now", "parameters": {}}')


def test_no_tools_and_no_format_is_no_constraint() -> None:
    assert BYTES.compile() is None
    assert BYTES.compile(dialect=registry.get("hermes"), tools=Tools()) is None
    choice = ToolChoice(mode="none")
    assert BYTES.compile(dialect=registry.get("hermes"), tools=TOOLS, choice=choice) is None


def test_a_dialect_without_a_grammar_is_refused_by_name() -> None:
    for mode in ("auto", "required"):
        with pytest.raises(NotEnforceable, match="muse_spark"):
            BYTES.compile(
                dialect=registry.get("muse_spark"),
                tools=TOOLS,
                choice=ToolChoice(mode=mode),  # type: ignore[arg-type]
            )
    with pytest.raises(GrammarError, match="tool_dialect"):
        BYTES.compile(tools=TOOLS, choice=ToolChoice(mode="required"))


def strict_tool(schema: dict[str, Any]) -> Tools:
    body = {"name": "f", "strict": True, "parameters": {"properties": {"a": schema}}}
    return Tools.of([{"type": "function", "function": body}])


@pytest.mark.parametrize("name", ["hermes", "gemma_tool_code", "qwen3_coder"])
def test_a_strict_schema_that_cannot_be_enforced_is_refused_by_its_keyword(name: str) -> None:
    dialect = registry.get(name)
    schema = {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}
    with pytest.raises(GrammarError, match="uniqueItems") as refused:
        BYTES.compile(dialect=dialect, tools=strict_tool(schema))
    assert refused.value.param == "tools"
    loose = Tools.of([{"name": "f", "parameters": {"properties": {"a": schema}}}])
    grammar = BYTES.compile(dialect=dialect, tools=loose)
    assert accepts(grammar, dialect.write([Call("f", '{"a": [1, 1]}')]))


# --- structured output ------------------------------------------------------------------------


def output(kind: str, value: Any = None, **options: Any) -> Grammar:
    grammar = BYTES.compile(output=OutputFormat(kind=kind, value=value), **options)  # type: ignore[arg-type]
    assert grammar is not None
    return grammar


def test_a_json_schema_admits_its_documents_only() -> None:
    grammar = output("json_schema", WEATHER_SCHEMA)
    assert accepts(grammar, '{"city": "Rome", "days": 2}')
    assert accepts(grammar, '{\n  "city": "Rome",\n  "days": 2\n}')
    assert not accepts(grammar, '{"city": "Rome"}')
    assert not accepts(grammar, '{"city": "Rome", "days": 2, "more": 1}')
    assert not accepts(grammar, 'Sure: {"city": "Rome", "days": 2}')
    assert not accepts(grammar, '{"city": "Rome", "days": 2', ends=True)
    for seed in range(8):
        text = babble(grammar, seed)
        if text is not None:
            jsonschema.validate(json.loads(text), WEATHER_SCHEMA)


def test_white_space_in_json_comes_to_an_end() -> None:
    grammar = output("json_object")
    assert not accepts(grammar, '{"a":' + "\n" * 200, ends=False)


def test_json_object_admits_any_object_and_nothing_else() -> None:
    grammar = output("json_object")
    assert accepts(grammar, '{"a": [1, {"b": null}], "ü": "\\u00e9"}')
    assert not accepts(grammar, "[1]")
    assert not accepts(grammar, '"text"')


def test_regex_choice_and_grammar_are_enforced() -> None:
    assert accepts(output("regex", r"\d{3}-[a-c]/x"), "123-b/x")
    assert not accepts(output("regex", r"\d{3}-[a-c]/x"), "123-d/x")
    assert accepts(output("choice", ["ja", "nein", "größer"]), "größer")
    assert not accepts(output("choice", ["ja", "nein"]), "jain")
    lark = 'start: "<" word ("," word)* ">"\nword: /[a-z]+/'
    assert accepts(output("grammar", lark), "<ab,cd>")
    assert not accepts(output("grammar", lark), "<ab,>")
    gbnf = 'root ::= "yes" | "no" [0-9]+'
    assert accepts(output("grammar", gbnf), "no12")
    assert not accepts(output("grammar", gbnf), "maybe")


@pytest.mark.parametrize(
    ("schema", "named"),
    [
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"properties": {"a": {"not": {"type": "string"}}}}, "not"),
        ({"if": {}, "then": {}}, "if"),
        ({"type": "string", "format": "zip"}, "zip"),
        ({"type": "string", "pattern": "(?=a)b"}, "look-around"),
        ({"$ref": "#/$defs/nowhere"}, "nowhere"),
        ({"type": "integer", "minimum": 3, "maximum": 2}, "minimum"),
        ({"type": "text"}, "text"),
        ({"properties": {"a": {"required": True}}}, "'properties'.*'a'.*'required'"),
    ],
)
def test_a_schema_feature_that_cannot_be_enforced_is_named(
    schema: dict[str, Any], named: str
) -> None:
    with pytest.raises(GrammarError, match=named) as refused:
        output("json_schema", schema)
    assert refused.value.param == "response_format"


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("regex", "("),
        ("regex", 3),
        ("choice", []),
        ("choice", [1]),
        ("grammar", "start: nothing_here"),
        ("grammar", 'start "a"'),
        ("grammar", None),
    ],
)
def test_other_forms_that_are_not_valid_are_refused(kind: str, value: Any) -> None:
    with pytest.raises(GrammarError) as refused:
        output(kind, value)
    assert refused.value.param == "structured_outputs"


def test_a_schema_nested_beyond_reason_is_refused_not_crashed() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(3000):
        schema = {"type": "array", "items": schema}
    with pytest.raises(GrammarError):
        output("json_schema", schema)


def test_tools_and_a_schema_together_admit_a_call_or_the_document() -> None:
    dialect = registry.get("hermes")
    grammar = output("json_schema", WEATHER_SCHEMA, dialect=dialect, tools=TOOLS)
    assert accepts(grammar, '{"city": "Rome", "days": 2}')
    assert accepts(grammar, dialect.write([WEATHER]))
    assert not accepts(grammar, "Hello")


# --- reasoning --------------------------------------------------------------------------------


def test_thinking_that_the_prompt_opened_is_free_and_the_answer_is_not() -> None:
    grammar = output("json_object", reasoning=reasoning.THINK, thinking="open")
    assert accepts(grammar, 'I think { this "is\n</think>\n\n{"a": 1}')
    assert not accepts(grammar, "I think.</think>\n\nSo be it.")
    assert not accepts(grammar, "I think.</think>")


def test_thinking_that_the_model_may_open_comes_before_the_answer() -> None:
    grammar = output("json_object", reasoning=reasoning.THINK, thinking="optional")
    assert accepts(grammar, '<think>\nHm { "\n</think>\n\n{"a": 1}')
    assert accepts(grammar, '{"a": 1}')
    assert not accepts(grammar, "Hm")
    assert not accepts(grammar, "<think>Hm</think>Hm")


def test_a_required_call_comes_after_the_thinking_or_ends_it() -> None:
    dialect = registry.get("hermes")
    choice = ToolChoice(mode="required", parallel=False)
    grammar = BYTES.compile(
        dialect=dialect,
        tools=TOOLS,
        choice=choice,
        reasoning=reasoning.THINK,
        thinking="open",
    )
    call = dialect.write([NOW])
    assert accepts(grammar, f"Hm\n</think>\n\n{call}")
    assert accepts(grammar, f"Hm\n{call}")
    assert not accepts(grammar, "Hm\n</think>\n\nNo.")
    assert not accepts(grammar, "Hm\n" + dialect.write([Call("launch", "{}")]))


def test_harmony_answers_in_its_final_channel_after_its_analysis() -> None:
    document = '<|channel|>final<|message|>{"a": 1}'
    analysis = "<|channel|>analysis<|message|>Hm<|end|><|start|>assistant"
    for thinking in ("none", "optional"):
        grammar = output("json_object", reasoning=reasoning.HARMONY, thinking=thinking)
        assert accepts(grammar, document)
        assert not accepts(grammar, "<|channel|>final<|message|>Hello")
        assert accepts(grammar, analysis + document) == (thinking == "optional")
    required = BYTES.compile(
        dialect=registry.get("harmony"),
        tools=TOOLS,
        choice=ToolChoice(mode="required"),
        reasoning=reasoning.HARMONY,
        thinking="optional",
    )
    call = registry.get("harmony").write([NOW])
    assert accepts(required, analysis + call)
    assert not accepts(required, analysis + document)
    events = read("harmony", analysis + call)
    assert isinstance(events[0], Thinking)


# --- the compiler -----------------------------------------------------------------------------


def test_equal_requests_share_one_grammar_and_rows_do_not_share_state() -> None:
    made = compiler()
    one = made.compile(output=OutputFormat(kind="json_schema", value=WEATHER_SCHEMA))
    two = made.compile(output=OutputFormat(kind="json_schema", value=dict(WEATHER_SCHEMA)))
    assert one is two
    assert one is not None
    first, second = one.row(), one.row()
    first.advance(TOKENIZER.encode("{")[0])
    _, a = mask_of(first, len(TOKENIZER) + PADDING)
    _, b = mask_of(second, len(TOKENIZER) + PADDING)
    assert (a != b).any()


def test_grammars_are_compiled_from_many_threads_at_once() -> None:
    made = compiler()
    results: list[bool] = []

    def work(n: int) -> None:
        schema = {"type": "object", "properties": {f"k{n % 3}": {"type": "integer"}}}
        grammar = made.compile(output=OutputFormat(kind="json_schema", value=schema))
        results.append(accepts(grammar, f'{{"k{n % 3}": 1}}'))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 12


def test_the_cache_is_bounded_and_remembers_refusals() -> None:
    tokenizer = vocabularies.byte_level()
    made = Compiler(tokenizer, len(tokenizer), [EOS], capacity=4)
    for n in range(10):
        made.compile(output=OutputFormat(kind="choice", value=[str(n)]))
    assert len(made._kept) == 4
    schema = {"type": "array", "uniqueItems": True}
    for _ in range(2):
        with pytest.raises(GrammarError, match="uniqueItems"):
            made.compile(output=OutputFormat(kind="json_schema", value=schema))


def test_a_token_chosen_against_the_grammar_ends_the_constraint_and_says_so() -> None:
    matcher = output("choice", ["yes", "no"]).row()
    matcher.advance(TOKENIZER.encode("m")[0])
    assert matcher.error is not None
    assert not matcher.active


def test_a_tokenizer_without_a_rust_backend_is_refused_clearly() -> None:
    class Slow:
        """A tokenizer in Python alone."""

    with pytest.raises(GrammarError, match=r"tokenizer\.json"):
        Compiler(Slow(), 10, [0]).compile(output=OutputFormat(kind="json_object"))
