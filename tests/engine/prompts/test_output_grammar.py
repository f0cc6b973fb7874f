"""Formats and reasoning: what a grammar lets through is valid, and what is valid gets through."""

import json
import threading
from typing import Any

import jsonschema
import pytest

from mlx_notebook.engine.dialects import reasoning, registry
from mlx_notebook.engine.dialects.output_events import ReasoningContent, ToolCall
from mlx_notebook.engine.grammar.matcher import Grammar
from mlx_notebook.engine.prompts.output_grammar import GrammarCompiler
from mlx_notebook.engine.sandbox.grammar_errors import GrammarError
from mlx_notebook.protocol import OutputFormat, ToolChoice
from tests.engine import vocabularies
from tests.engine.writing import (
    BYTES,
    EOS,
    NOW,
    PADDING,
    TOKENIZER,
    TOOLS,
    WEATHER,
    WEATHER_SCHEMA,
    accepts,
    babble,
    compiler,
    mask_of,
    read,
)


def output(kind: str, value: Any = None, **options: Any) -> Grammar:
    grammar = BYTES.compile(output=OutputFormat(kind=kind, value=value), **options)  # type: ignore[arg-type]
    assert grammar is not None
    return grammar


def test_a_json_schema_admits_its_documents_only() -> None:
    grammar = output("json_schema", WEATHER_SCHEMA)
    assert accepts(grammar, '{"city": "Rome", "days": 2}')
    # On one line, and in one notation.
    assert accepts(grammar, '{"city":"Rome","days":2}')
    assert not accepts(grammar, '{"city": "Rome","days":2}')
    assert not accepts(grammar, '{\n  "city": "Rome",\n  "days": 2\n}')
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
        ({"type": "array", "contains": {"const": 1}}, "contains"),
        ({"properties": {"a": {"not": {"pattern": "a"}}}}, "not"),
        ({"if": {}, "then": {}}, "if"),
        ({"type": "string", "format": "idn-hostname"}, "idn-hostname"),
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
    grammar = output("json_object", reasoning=reasoning.THINK, reasoning_state="open")
    assert accepts(grammar, 'I think { this "is\n</think>\n\n{"a": 1}')
    assert not accepts(grammar, "I think.</think>\n\nSo be it.")
    assert not accepts(grammar, "I think.</think>")


def test_thinking_that_the_model_may_open_comes_before_the_answer() -> None:
    grammar = output("json_object", reasoning=reasoning.THINK, reasoning_state="optional")
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
        reasoning_state="open",
    )
    call = dialect.write([NOW])
    assert accepts(grammar, f"Hm\n</think>\n\n{call}")
    assert accepts(grammar, f"Hm\n{call}")
    assert not accepts(grammar, "Hm\n</think>\n\nNo.")
    assert not accepts(grammar, "Hm\n" + dialect.write([ToolCall("launch", "{}")]))


def test_harmony_answers_in_its_final_channel_after_its_analysis() -> None:
    document = '<|channel|>final<|message|>{"a": 1}'
    analysis = "<|channel|>analysis<|message|>Hm<|end|><|start|>assistant"
    for state in ("none", "optional"):
        grammar = output("json_object", reasoning=reasoning.HARMONY, reasoning_state=state)
        assert accepts(grammar, document)
        assert not accepts(grammar, "<|channel|>final<|message|>Hello")
        assert accepts(grammar, analysis + document) == (state == "optional")
    required = BYTES.compile(
        dialect=registry.get("harmony"),
        tools=TOOLS,
        choice=ToolChoice(mode="required"),
        reasoning=reasoning.HARMONY,
        reasoning_state="optional",
    )
    call = registry.get("harmony").write([NOW])
    assert accepts(required, analysis + call)
    assert not accepts(required, analysis + document)
    events = read("harmony", analysis + call)
    assert isinstance(events[0], ReasoningContent)


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


def test_users_do_not_share_grammars() -> None:
    ann = output("choice", ["yes", "no"], salt="user:ann")
    assert output("choice", ["yes", "no"], salt="user:ann") is ann
    assert output("choice", ["yes", "no"], salt="user:bob") is not ann
    assert output("choice", ["yes", "no"]) is not ann


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
    made = GrammarCompiler(tokenizer, len(tokenizer), [EOS], capacity=4)
    for n in range(10):
        made.compile(output=OutputFormat(kind="choice", value=[str(n)]))
    assert len(made._kept) == 4
    schema = {"type": "array", "contains": {"const": 1}}
    for _ in range(2):
        with pytest.raises(GrammarError, match="contains"):
            made.compile(output=OutputFormat(kind="json_schema", value=schema))


def test_a_token_chosen_against_the_grammar_ends_the_constraint_and_says_so() -> None:
    matcher = output("choice", ["yes", "no"]).row()
    matcher.advance(TOKENIZER.encode("m")[0])
    assert matcher.failure is not None
    assert matcher.failure.code == "constraint_failed"
    assert not mask_of(matcher, len(TOKENIZER))[0]


def test_a_tokenizer_without_a_rust_backend_is_refused_clearly() -> None:
    class Slow:
        """A tokenizer in Python alone."""

    with pytest.raises(GrammarError, match=r"tokenizer\.json"):
        GrammarCompiler(Slow(), 10, [0]).compile(output=OutputFormat(kind="json_object"))
