"""Tool calls at work under a grammar: what is let through is valid, what is valid gets through."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from transformers import AutoTokenizer

from mlx_notebook import demo_models
from mlx_notebook.engine.dialects import reasoning, registry
from mlx_notebook.engine.dialects.notations.tag_calls import TagCalls
from mlx_notebook.engine.dialects.output_events import CallEnd, CallFailed, Content, ToolCall
from mlx_notebook.engine.functions.declared import DeclaredFunctions
from mlx_notebook.engine.prompts.output_grammar import GrammarCompiler
from mlx_notebook.engine.sandbox.grammar_errors import GrammarError, NotEnforceable
from mlx_notebook.protocol import ToolChoice
from tests.engine import vocabularies
from tests.engine.writing import (
    BYTES,
    ENFORCED,
    NOW,
    PADDING,
    PIECES,
    TOOLS,
    WEATHER,
    WEATHER_SCHEMA,
    accepts,
    babble,
    read,
)


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
    assert not accepts(grammar, dialect.write([ToolCall("launch", "{}")]))
    assert not accepts(grammar, dialect.write([ToolCall("get_weather", '{"days": 3}')]))
    assert not accepts(grammar, dialect.write([ToolCall("get_weather", '{"city": "X"}')]))
    assert not accepts(grammar, dialect.write([ToolCall("now", '{"city": "X"}')]))


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
    ending = dialect._after_value() if isinstance(dialect, TagCalls) else ""
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

    def admitted(*calls: ToolCall) -> bool:
        return accepts(grammar, before + dialect.write(list(calls)), tokenizer)

    assert accepts(grammar, "Any text, <b>marks</b> and {braces}.", tokenizer)
    assert admitted(WEATHER)
    if kind == "byte_level" and not dialect.layout.single:
        # The other vocabulary has tokens that reach over the end of a region: they are not taken.
        assert admitted(WEATHER, NOW)
    assert not admitted(ToolCall("launch", "{}"))
    assert not admitted(ToolCall("get_weather", '{"days": 99}'))


def test_the_embedded_models_own_vocabulary_is_enforced() -> None:
    folder = Path(demo_models.__file__).parent / "tiny-chat"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    made = GrammarCompiler(tokenizer, len(tokenizer) + PADDING, [tokenizer.eos_token_id])
    dialect = registry.infer(tokenizer.chat_template, tokenizer.get_vocab())
    assert dialect is not None
    options: dict[str, Any] = {
        "dialect": dialect,
        "tools": TOOLS,
        "reasoning": reasoning.infer(tokenizer.chat_template, tokenizer.get_vocab()),
    }
    required = made.compile(choice=ToolChoice(mode="required"), **options)
    assert accepts(required, dialect.write([WEATHER, NOW]), tokenizer)
    assert not accepts(required, dialect.write([ToolCall("launch", "{}")]), tokenizer)
    reasoned = made.compile(
        choice=ToolChoice(mode="required"), reasoning_state="optional", **options
    )
    assert accepts(reasoned, "<think>\nHm\n</think>\n\n" + dialect.write([NOW]), tokenizer)
    free = made.compile(**options)
    assert accepts(
        free, "Hello. " + dialect.write([WEATHER]) + "\n" + dialect.write([NOW]), tokenizer
    )
    assert not accepts(free, "Hello. " + dialect.write([ToolCall("launch", "{}")]), tokenizer)


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
        grammar = BYTES.compile(dialect=dialect, tools=TOOLS.select(["now"]), choice=choice)
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
    assert BYTES.compile(dialect=registry.get("hermes"), tools=DeclaredFunctions()) is None
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


def strict_tool(schema: dict[str, Any]) -> DeclaredFunctions:
    body = {"name": "f", "strict": True, "parameters": {"properties": {"a": schema}}}
    return DeclaredFunctions.from_tools([{"type": "function", "function": body}])


@pytest.mark.parametrize("name", ["hermes", "gemma_tool_code", "qwen3_coder"])
def test_a_strict_schema_that_cannot_be_enforced_is_refused_by_its_keyword(name: str) -> None:
    dialect = registry.get(name)
    schema = {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}
    with pytest.raises(GrammarError, match="uniqueItems") as refused:
        BYTES.compile(dialect=dialect, tools=strict_tool(schema))
    assert refused.value.param == "tools"
    loose = DeclaredFunctions.from_tools(
        [{"name": "f", "parameters": {"properties": {"a": schema}}}]
    )
    grammar = BYTES.compile(dialect=dialect, tools=loose)
    assert accepts(grammar, dialect.write([ToolCall("f", '{"a": [1, 1]}')]))
