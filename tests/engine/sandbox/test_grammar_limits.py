"""Formats that cannot be enforced are refused with the reason; none harms the engine."""

from typing import Any

import pytest

from mlx_notebook.engine.dialects import registry
from mlx_notebook.engine.errors import LimitExceeded
from mlx_notebook.engine.functions.declared import DeclaredFunctions
from mlx_notebook.engine.grammar.matcher import Grammar
from mlx_notebook.engine.sandbox.deadline import Deadline
from mlx_notebook.engine.sandbox.grammar_errors import GrammarError
from mlx_notebook.engine.sandbox.grammar_limits import explain
from mlx_notebook.protocol import OutputFormat, ToolChoice
from tests.engine.writing import BYTES, PADDING, TOKENIZER, accepts, mask_of


def compile(kind: str, value: Any) -> Grammar:
    grammar = BYTES.compile(output=OutputFormat(kind=kind, value=value))  # type: ignore[arg-type]
    assert grammar is not None
    return grammar


def optional_integers(count: int) -> dict[str, Any]:
    return {"type": "object", "properties": {f"k{i}": {"type": "integer"} for i in range(count)}}


def rules_in_a_chain(count: int) -> str:
    rules = (f'r{i}: "(" r{i + 1} ")" | "x"' for i in range(count))
    return "\n".join(["start: r0", *rules, f'r{count}: "y"'])


def references_in_a_chain(count: int) -> dict[str, Any]:
    steps = {
        f"d{i}": {"type": "array", "items": {"$ref": f"#/$defs/d{i + 1}"}} for i in range(count)
    }
    return {"$ref": "#/$defs/d0", "$defs": {**steps, f"d{count}": {"type": "integer"}}}


def test_a_thousand_optional_properties_and_four_thousand_choices_are_enforced() -> None:
    grammar = compile("json_schema", optional_integers(1000))
    assert accepts(grammar, '{"k3": 1, "k999": 2}')
    assert not accepts(grammar, '{" are welcome!', ends=False)
    choices = compile(
        "choice", [f"{i} is a long choice {'of many words ' * 5}" for i in range(4000)]
    )
    assert accepts(choices, f"17 is a long choice {'of many words ' * 5}")
    assert not accepts(choices, "4001 is", ends=False)


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        ("json_schema", optional_integers(2000), "possibilities, 5000 at most"),
        ("regex", "a{500000}", "repeats, combines or counts too much"),
        ("regex", "(a?){2000}a{2000}", "repeats, combines or counts too much"),
        ("grammar", 'start: ((("x"){50}){50}){50}', "ambiguous"),
        ("grammar", rules_in_a_chain(20_000), "nested too deeply, or too large"),
        ("json_schema", references_in_a_chain(3500), "nested too deeply, or too large"),
        ("json_schema", {"type": "integer", "multipleOf": 99_999_999}, "too long to compile"),
        ("choice", ["x" * 400_000, "y" * 700_000], "1000000 at most"),
        ("json_schema", {"enum": ["x" * 300_000]}, "250000 at most"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 30 else "",
)
def test_what_is_too_much_is_refused_with_the_limit(kind: str, value: Any, reason: str) -> None:
    with pytest.raises(GrammarError, match=reason) as refused:
        compile(kind, value)
    json = kind == "json_schema"
    assert refused.value.param == ("response_format" if json else "structured_outputs")


def test_a_format_is_compiled_no_longer_than_its_request_is_prepared() -> None:
    with Deadline(0.2).active(), pytest.raises(LimitExceeded, match="preparing the request"):
        compile("json_schema", {"type": "integer", "multipleOf": 99_999_971})


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("json_schema", {"$ref": "#"}),
        ("json_schema", {"type": "string", "minLength": 5, "maxLength": 2}),
        ("json_schema", {"enum": []}),
        ("json_schema", {"type": "string", "pattern": "^a", "format": "uuid", "minLength": 60}),
        ("regex", r"[^\s\S]"),
        ("regex", r"a[^\s\S]"),
        ("grammar", "start: A\nA: /a/ & /b/"),
    ],
)
def test_what_no_text_fulfils_is_refused(kind: str, value: Any) -> None:
    with pytest.raises(GrammarError, match="no text fulfils it"):
        compile(kind, value)


def test_a_schema_nested_as_deeply_as_python_allows_is_refused_or_enforced() -> None:
    for depth in (60, 100, 150, 400):
        schema: dict[str, Any] = {"type": "integer"}
        for _ in range(depth):
            schema = {"type": "object", "properties": {"x": schema}}
        try:
            compile("json_schema", schema)
        except GrammarError as error:
            assert "nested too deeply" in str(error)  # noqa: PT017
            assert depth > 60


def test_a_tool_that_cannot_be_enforced_names_the_tools() -> None:
    schema = {"properties": {"a": {"type": "string", "pattern": r"[^\s\S]"}}, "required": ["a"]}
    tools = DeclaredFunctions.from_tools(
        [{"type": "function", "function": {"name": "f", "parameters": schema}}]
    )
    with pytest.raises(GrammarError) as refused:
        BYTES.compile(
            dialect=registry.get("hermes"), tools=tools, choice=ToolChoice(mode="required")
        )
    assert refused.value.param == "tools"


def test_a_grammar_that_fails_in_mid_answer_says_so() -> None:
    rows = "".join(f'\nr{i}: "x{i}" /[a-z]{{{i % 9 + 1}}}/' for i in range(6000))
    choices = " | ".join(f"r{i}" for i in range(6000))
    matcher = compile("grammar", f"start: /[a-z]{{300}}/ ({choices}){rows}").row()
    for token in TOKENIZER.encode("ab" * 150 + "x", add_special_tokens=False):
        mask_of(matcher, len(TOKENIZER) + PADDING)
        if matcher.failure is not None:
            break
        matcher.advance(token)
    assert matcher.failure is not None
    assert matcher.failure.code == "constraint_failed"
    assert matcher.failure.param == "structured_outputs"
    assert "The grammar could not be enforced to the end" in matcher.failure.message
    assert "5000 at most" in matcher.failure.message


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"oneOf": [{"type": "object"}, {"type": "object"}]}, "use 'anyOf'"),
        ({"$ref": "https://example.org/a"}, "only references inside the schema"),
        ({"$ref": "#/$defs/a"}, r"'#/\$defs/a' leads nowhere"),
        ({"type": "string", "pattern": "(?=a)b"}, "regular expression in it.*look-around"),
        ({"type": "array", "contains": {}}, '"contains".*leave them out'),
    ],
)
def test_refusals_say_what_to_change_in_words_of_the_request(
    schema: dict[str, Any], said: str
) -> None:
    with pytest.raises(GrammarError, match=said) as refused:
        compile("json_schema", schema)
    message = str(refused.value)
    assert message.startswith("The JSON schema cannot be enforced: ")
    for ours in ("coerce_one_of", "%llguidance", "json_0", "retriever", "\n"):
        assert ours not in message


def test_whatever_the_library_says_becomes_one_short_line() -> None:
    for message in ("", "at 3(9): at 4(1): odd", "x" * 5000, "panic: index out of bounds"):
        said = explain(message)
        assert said
        assert len(said) <= 500
        assert not said.startswith("at ")
    assert "simplify" in explain("panic: assertion failed")
