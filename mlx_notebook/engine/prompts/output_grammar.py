"""Compile the grammar of a request's output format and tool calls, and cache it."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Literal

import llguidance
import msgspec

from mlx_notebook.engine.dialects.call_grammar import all_calls, opened_call
from mlx_notebook.engine.dialects.dialect import Dialect
from mlx_notebook.engine.dialects.reasoning import ReasoningMarks
from mlx_notebook.engine.functions.declared import DeclaredFunctions
from mlx_notebook.engine.grammar.forbidden_texts import ForbiddenTexts
from mlx_notebook.engine.grammar.grammar_tokenizer import GrammarTokenizer
from mlx_notebook.engine.grammar.lark import LarkRules
from mlx_notebook.engine.grammar.matcher import Grammar, Trigger
from mlx_notebook.engine.grammar.rewriting.older_drafts import as_2020_12
from mlx_notebook.engine.grammar.schema_rewrites import enforceable
from mlx_notebook.engine.grammar.schemas import check, close_objects, is_simple
from mlx_notebook.engine.grammar.unique.places import (
    SchemaPlaces,
    subschemas,
    without_unique_items,
)
from mlx_notebook.engine.grammar.unique.preamble import Preamble
from mlx_notebook.engine.grammar.unique.unique_items import UniqueItems
from mlx_notebook.engine.sandbox.grammar_errors import GrammarError
from mlx_notebook.protocol import OutputFormat, ToolChoice

ReasoningState = Literal["none", "open", "optional"]
"""How the answer begins: without reasoning, inside reasoning that the prompt opened, or optionally
with reasoning."""


class GrammarCompiler:
    """Compiles and caches the grammars of one model. Thread-safe.

    The parameters are those of `GrammarTokenizer`. The vocabulary is read when it is first needed.
    """

    def __init__(self, tokenizer: Any, width: int, eos: Sequence[int], capacity: int = 32) -> None:
        self._make_tokens: Callable[[], GrammarTokenizer] = lambda: GrammarTokenizer(
            tokenizer, width, eos
        )
        self._tokens: GrammarTokenizer | None = None
        self._capacity = capacity
        self._kept: OrderedDict[bytes, Grammar | GrammarError] = OrderedDict()
        self._lock = threading.Lock()
        self._reading = threading.Lock()

    def compile(
        self,
        *,
        output: OutputFormat | None = None,
        dialect: Dialect | None = None,
        tools: DeclaredFunctions | None = None,
        choice: ToolChoice | None = None,
        reasoning: ReasoningMarks | None = None,
        reasoning_state: ReasoningState = "none",
        salt: str = "",
    ) -> Grammar | None:
        """Return the grammar of a request; None if its output is not constrained.

        This takes milliseconds to a second: do not call it in the decode loop. `tools` are the
        functions that may be called, already limited to the names in `choice`. Only requests with
        the same `salt` share grammars, since the time tells whether one was compiled before.

        Raises
        ------
        GrammarError
            If the format or the calls cannot be enforced.
        """
        choice = choice if choice is not None else ToolChoice()
        if choice.mode == "none" or tools is None or not len(tools):
            tools = None
        if tools is not None and choice.mode == "required" and dialect is None:
            raise GrammarError(
                "This model has no known tool-call dialect, so tool calls cannot be enforced; "
                "set tool_dialect in the model's settings.",
                "tool_choice",
            )
        calls = (dialect, tools) if tools is not None and dialect is not None else None
        if output is None and calls is None:
            return None
        try:
            key = salt.encode() + b"\0" + _key(output, calls, choice, reasoning, reasoning_state)
        except RecursionError:
            raise _too_deep(output) from None
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
        if kept is None:
            try:
                kept = self._compile(output, calls, choice, reasoning, reasoning_state)
            except GrammarError as error:
                kept = error
                if output is not None and output.param and error.param in _OUTPUT_PARAMS:
                    kept.param = output.param
            except RecursionError:
                kept = _too_deep(output)
            with self._lock:
                self._kept[key] = kept
                while len(self._kept) > self._capacity:
                    self._kept.popitem(last=False)
        if isinstance(kept, GrammarError):
            raise kept.with_traceback(None)
        return kept

    def read_vocabulary(self) -> GrammarTokenizer:
        """Return the model's tokenizer for grammars. Raise GrammarError if there is none."""
        with self._reading:
            if self._tokens is None:
                self._tokens = self._make_tokens()
                # This imports jsonschema, which is slow, before the first request with tools.
                check({}, "nothing", "tools")
            return self._tokens

    def forbid(self, texts: Sequence[bytes]) -> ForbiddenTexts:
        """Return the constraint against texts. Raise GrammarError if it cannot be made."""
        return ForbiddenTexts(self.read_vocabulary(), texts)

    def _compile(
        self,
        output: OutputFormat | None,
        calls: tuple[Dialect, DeclaredFunctions] | None,
        choice: ToolChoice,
        reasoning: ReasoningMarks | None,
        reasoning_state: ReasoningState,
    ) -> Grammar:
        if calls is not None:
            for function in calls[1].functions:
                check(function.parameters, f"the tool {function.name!r}", "tools")
        build = _GrammarBuilder(self.read_vocabulary(), output, calls)
        if reasoning is None or (reasoning_state == "none" and not reasoning.head):
            reasoning, reasoning_state = None, "none"
        if output is not None and output.kind == "grammar" and calls is None and reasoning is None:
            # Unchanged, because the user's grammar may set global options.
            return build.grammar(_lark(output.value))
        if calls is not None and choice.mode == "auto" and output is None:
            return self._free_until_call(build, *calls, choice.parallel, reasoning)
        rules = build.rules()
        parts = []
        if calls is not None:
            parts.append(all_calls(*calls, rules, choice.parallel))
        if output is not None and not (calls is not None and choice.mode == "required"):
            head = rules.text(reasoning.head) if reasoning is not None else ""
            if output.kind == "json_schema" and calls is None:
                expression, places = json_content(output.value, rules)
                if places is not None:
                    build.unique = UniqueItems(
                        places, build.tokens.texts, _preamble(reasoning, reasoning_state)
                    )
            else:
                expression = content(output, rules)
            parts.append(f"{head} {expression}".strip())
        body = rules.add("answer", " | ".join(parts))
        if reasoning is None or reasoning_state == "none":
            return build.grammar(rules.render(body))
        lead = rules.text(reasoning.between) or rules.add("LEAD", r"/\n{0,3}/")
        if reasoning_state == "open":
            after = build.matcher(rules.render(f"{lead} {body}"))
            triggers = [Trigger(reasoning.end.encode(), after, binding=True)]
            if calls is not None and output is None:
                # Models forget to end their reasoning before a call.
                triggers += self._call_triggers(build, *calls, choice.parallel, again=False)
            return Grammar(
                build.tokens, None, triggers, build.name, build.param, unique=build.unique
            )
        start = rules.text(reasoning.start)
        block = f"{start} {rules.until(reasoning.end)} {lead}"
        return build.grammar(rules.render(f"({block})? {body}"))

    def _free_until_call(
        self,
        build: "_GrammarBuilder",
        dialect: Dialect,
        tools: DeclaredFunctions,
        parallel: bool,
        reasoning: ReasoningMarks | None,
    ) -> Grammar:
        triggers = self._call_triggers(build, dialect, tools, parallel, again=parallel)
        if reasoning is not None:
            triggers.append(Trigger(reasoning.end.encode(), None))
        return Grammar(build.tokens, None, triggers, build.name, build.param)

    def _call_triggers(
        self,
        build: "_GrammarBuilder",
        dialect: Dialect,
        tools: DeclaredFunctions,
        parallel: bool,
        again: bool,
    ) -> list[Trigger]:
        triggers = []
        for start, missing in dialect.triggers():
            rules = build.rules()
            rest = opened_call(dialect, tools, rules, parallel, missing)
            matcher = build.matcher(rules.render(rest))
            if start.kept:
                # The text of the trigger is the beginning of the call.
                matcher.try_consume_tokens(build.tokens.encode(start.text.encode()))
            triggers.append(Trigger(start.text.encode(), matcher, start.first, again))
        return triggers


class _GrammarBuilder:
    """Builds the grammars of one request.

    Attributes
    ----------
    name, param
        Name of the constraint in error messages, and the request's parameter that holds it.
    unique
        What holds beside the grammar of the answer: the items of arrays differ.
    """

    def __init__(
        self,
        tokens: GrammarTokenizer,
        output: OutputFormat | None,
        calls: tuple[Dialect, DeclaredFunctions] | None,
    ) -> None:
        self.tokens = tokens
        self.unique: UniqueItems | None = None
        self.name, self.param = _names(output)
        schemas = [function.parameters for function in calls[1].functions] if calls else []
        if output is not None and output.kind == "json_schema":
            schemas.append(output.value)
        written = output is not None and output.kind in ("regex", "grammar")
        self._check = written or not all(map(is_simple, schemas))

    def rules(self) -> LarkRules:
        """Return an empty collection of rules."""
        return LarkRules(self.tokens.special)

    def matcher(self, grammar: str) -> llguidance.LLMatcher:
        """Compile a grammar. Raise GrammarError with the request's parameter."""
        try:
            return self.tokens.matcher(grammar, check=self._check)
        except GrammarError as error:
            raise GrammarError(
                f"{self.name} cannot be enforced: {error}.", error.param or self.param
            ) from None

    def grammar(self, grammar: str) -> Grammar:
        """Compile a grammar that applies from the first token."""
        matcher = self.matcher(grammar)
        return Grammar(self.tokens, matcher, (), self.name, self.param, unique=self.unique)


_OUTPUT_PARAMS = ("response_format", "structured_outputs")
_NAMES = {
    "json_object": ("The response format", "response_format"),
    "json_schema": ("The JSON schema", "response_format"),
    "regex": ("The regular expression", "structured_outputs"),
    "choice": ("The list of choices", "structured_outputs"),
    "grammar": ("The grammar", "structured_outputs"),
    "tools": ("A schema among the tools", "tools"),
}


def content(output: OutputFormat, rules: LarkRules) -> str:
    """Return an expression for an answer in the format `output`.

    Raises
    ------
    GrammarError
        If the format itself is not valid.
    """
    value = output.value
    if output.kind == "json_object":
        return rules.json({"type": "object"}, strict=True)
    if output.kind == "json_schema":
        return rules.json_line(_prepared(value), strict=True)
    if output.kind == "regex":
        if not isinstance(value, str):
            raise GrammarError("The regular expression must be a string.", "structured_outputs")
        return rules.add("PATTERN", f"/{llguidance.regex_to_lark(value)}/")
    if output.kind == "choice":
        if not isinstance(value, list) or not value or not all(isinstance(v, str) for v in value):
            raise GrammarError("The choices must be a list of strings.", "structured_outputs")
        return rules.choice(value)
    return rules.add("grammar", "%lark {\n" + _lark(value) + "\n}")


def json_content(schema: Any, rules: LarkRules) -> tuple[str, SchemaPlaces | None]:
    """Return an expression for the JSON values of a schema, and where their items must differ.

    Raises
    ------
    GrammarError
        If the schema is not valid.
    """
    prepared = _prepared(schema)
    unique = [part for part in subschemas(prepared) if part.get("uniqueItems") is True]
    if not unique:
        return rules.json_line(prepared, strict=True), None
    try:
        places = SchemaPlaces(prepared)
    except (LookupError, ValueError):  # what applies where is not known: it is refused below
        return rules.json_line(prepared, strict=True), None
    plain = without_unique_items(prepared)
    return rules.json_line(plain, strict=True, fixed=True), places


def _prepared(schema: Any) -> Any:
    """Return a schema as the grammar takes it. Raise GrammarError if it is not valid."""
    if not isinstance(schema, dict | bool):
        raise GrammarError("The JSON schema must be an object.", "response_format")
    schema = as_2020_12(schema)
    check(schema, "the response format", "response_format")
    return close_objects(enforceable(schema, close_objects))


def _preamble(reasoning: ReasoningMarks | None, state: ReasoningState) -> Preamble:
    """Return what may precede the JSON value where the grammar applies."""
    if reasoning is None:
        return Preamble()
    marks = (reasoning.start, reasoning.end) if state == "optional" else ("", "")
    texts = (*marks, reasoning.between, reasoning.head)
    return Preamble(*(text.encode() for text in texts))


def _lark(text: object) -> str:
    """Return a Lark grammar unchanged, and a GBNF grammar (llama.cpp's notation) as Lark."""
    if not isinstance(text, str):
        raise GrammarError("The grammar must be a string.", "structured_outputs")
    try:
        return llguidance.grammar_from("grammar", text)
    except ValueError as error:
        raise GrammarError(f"The grammar is not valid: {error}", "structured_outputs") from error


def _names(output: OutputFormat | None) -> tuple[str, str]:
    """Return the name of a constraint in error messages, and its parameter."""
    name, param = _NAMES[output.kind if output is not None else "tools"]
    return name, (output.param if output is not None else None) or param


def _too_deep(output: OutputFormat | None) -> GrammarError:
    name, param = _names(output)
    return GrammarError(f"{name} cannot be enforced: it is nested too deeply.", param)


def _key(
    output: OutputFormat | None,
    calls: tuple[Dialect, DeclaredFunctions] | None,
    choice: ToolChoice,
    reasoning: ReasoningMarks | None,
    reasoning_state: ReasoningState,
) -> bytes:
    """Return the key of a request's grammar in the cache."""
    dialect, functions = (calls[0].name, calls[1].functions) if calls is not None else ("", ())
    asked = (output, dialect, functions, choice.mode, choice.parallel, reasoning, reasoning_state)
    return msgspec.json.encode(asked)
