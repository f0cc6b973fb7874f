"""Turns what a request asks of its output into a grammar; compiled once, then kept."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Literal

import llguidance
import msgspec

from mlx_notebook.engine.grammar.errors import GrammarError
from mlx_notebook.engine.grammar.forbidden import Forbidden
from mlx_notebook.engine.grammar.lark import Rules
from mlx_notebook.engine.grammar.matcher import Grammar, Trigger
from mlx_notebook.engine.grammar.schemas import check, close_objects
from mlx_notebook.engine.grammar.tokens import Tokens
from mlx_notebook.engine.grammar.tools import all_calls, opened_call
from mlx_notebook.engine.parsers.dialect import Dialect
from mlx_notebook.engine.parsers.tools import Tools
from mlx_notebook.engine.reasoning import Reasoning
from mlx_notebook.messages import OutputFormat, ToolChoice

Thinking = Literal["none", "open", "optional"]
"""Whether the answer begins without thinking, inside a block that the prompt opened, or may
begin with a block that the model opens itself."""


class Compiler:
    """Compiles and keeps the grammars of one model. Thread-safe.

    Parameters are those of `Tokens`; the vocabulary is read when first needed.
    """

    def __init__(self, tokenizer: Any, width: int, eos: Sequence[int], capacity: int = 128) -> None:
        self._make_tokens: Callable[[], Tokens] = lambda: Tokens(tokenizer, width, eos)
        self._tokens: Tokens | None = None
        self._capacity = capacity
        self._kept: OrderedDict[bytes, Grammar | GrammarError] = OrderedDict()
        self._lock = threading.Lock()
        self._reading = threading.Lock()

    def compile(
        self,
        *,
        output: OutputFormat | None = None,
        dialect: Dialect | None = None,
        tools: Tools | None = None,
        choice: ToolChoice | None = None,
        reasoning: Reasoning | None = None,
        thinking: Thinking = "none",
    ) -> Grammar | None:
        """Return the grammar for one request; None where nothing is constrained.

        Takes milliseconds to a second: call it off the decode loop. `tools` are the functions
        that may be called, already narrowed to the choice's names.

        Raises
        ------
        GrammarError
            Naming the schema feature, or the dialect, that cannot be enforced.
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
            key = _key(output, calls, choice, reasoning, thinking)
        except RecursionError:
            raise GrammarError(
                "The schema is nested too deeply to be enforced.",
                "tools" if output is None else _param(output),
            ) from None
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
        if kept is None:
            try:
                if calls is not None:
                    for function in calls[1].functions:
                        check(function.parameters, f"the tool {function.name!r}", "tools")
                kept = self._compile(output, calls, choice, reasoning, thinking)
            except GrammarError as error:
                kept = error
            with self._lock:
                self._kept[key] = kept
                while len(self._kept) > self._capacity:
                    self._kept.popitem(last=False)
        if isinstance(kept, GrammarError):
            raise kept.with_traceback(None)
        return kept

    def read_vocabulary(self) -> Tokens:
        """Return the model's vocabulary, reading it if need be; raises GrammarError."""
        with self._reading:
            if self._tokens is None:
                self._tokens = self._make_tokens()
                # Its import would keep the first request with tools waiting.
                check({}, "nothing", "tools")
            return self._tokens

    def forbid(self, texts: Sequence[bytes]) -> Forbidden:
        """Return the constraint of answers that hold none of these texts; raises GrammarError."""
        return Forbidden(self.read_vocabulary(), texts)

    def _compile(
        self,
        output: OutputFormat | None,
        calls: tuple[Dialect, Tools] | None,
        choice: ToolChoice,
        reasoning: Reasoning | None,
        thinking: Thinking,
    ) -> Grammar:
        tokens = self.read_vocabulary()
        if reasoning is None or (thinking == "none" and not reasoning.head):
            reasoning, thinking = None, "none"
        if output is not None and output.kind == "grammar" and calls is None and reasoning is None:
            # As it is: a grammar of the user's may set options for the whole.
            return Grammar(tokens, _matcher(tokens, _lark(output.value), "structured_outputs"))
        if calls is not None and choice.mode == "auto" and output is None:
            return self._free_until_call(tokens, *calls, choice.parallel, reasoning)
        rules = Rules(tokens.special)
        parts = []
        if calls is not None:
            parts.append(all_calls(*calls, rules, choice.parallel))
        if output is not None and not (calls is not None and choice.mode == "required"):
            head = rules.text(reasoning.head) if reasoning is not None else ""
            parts.append(f"{head} {content(output, rules)}".strip())
        param = "tools" if output is None else _param(output)
        body = rules.add("answer", " | ".join(parts))
        if reasoning is None:
            return Grammar(tokens, _matcher(tokens, rules.render(body), param))
        lead = rules.text(reasoning.between) or rules.add("LEAD", r"/\n{0,3}/")
        if thinking == "open":
            after = _matcher(tokens, rules.render(f"{lead} {body}"), param)
            triggers = [Trigger(reasoning.end.encode(), after)]
            if calls is not None and output is None:
                # Models forget to close their thinking before a call.
                triggers += self._call_triggers(tokens, *calls, choice.parallel, again=False)
            return Grammar(tokens, None, triggers)
        if thinking == "none":
            return Grammar(tokens, _matcher(tokens, rules.render(body), param))
        start = rules.text(reasoning.start)
        block = f"{start} {rules.until(reasoning.end)} {lead}"
        return Grammar(tokens, _matcher(tokens, rules.render(f"({block})? {body}"), param))

    def _free_until_call(
        self,
        tokens: Tokens,
        dialect: Dialect,
        tools: Tools,
        parallel: bool,
        reasoning: Reasoning | None,
    ) -> Grammar:
        triggers = self._call_triggers(tokens, dialect, tools, parallel, again=parallel)
        if reasoning is not None:
            triggers.append(Trigger(reasoning.end.encode(), None))
        return Grammar(tokens, None, triggers)

    def _call_triggers(
        self, tokens: Tokens, dialect: Dialect, tools: Tools, parallel: bool, again: bool
    ) -> list[Trigger]:
        triggers = []
        for start, missing in dialect.triggers():
            rules = Rules(tokens.special)
            rest = opened_call(dialect, tools, rules, parallel, missing)
            matcher = _matcher(tokens, rules.render(rest), "tools")
            if start.kept:
                # The trigger's own text is the beginning of the call.
                matcher.try_consume_tokens(tokens.encode(start.text.encode()))
            triggers.append(Trigger(start.text.encode(), matcher, start.first, again))
        return triggers


def content(output: OutputFormat, rules: Rules) -> str:
    """Return an expression for an answer in the form that `output` asks for.

    Raises GrammarError where the form itself is not valid.
    """
    value = output.value
    if output.kind == "json_object":
        return rules.json({"type": "object"}, strict=True)
    if output.kind == "json_schema":
        if not isinstance(value, dict | bool):
            raise GrammarError("The JSON schema must be an object.", "response_format")
        check(value, "the response format", "response_format")
        return rules.json(close_objects(value), strict=True)
    if output.kind == "regex":
        if not isinstance(value, str):
            raise GrammarError("The regular expression must be a string.", "structured_outputs")
        return rules.add("PATTERN", f"/{llguidance.regex_to_lark(value)}/")
    if output.kind == "choice":
        if not isinstance(value, list) or not value or not all(isinstance(v, str) for v in value):
            raise GrammarError("The choices must be a list of strings.", "structured_outputs")
        return rules.choice(value)
    return rules.add("grammar", "%lark {\n" + _lark(value) + "\n}")


def _lark(text: object) -> str:
    """Return a Lark grammar as it is and a GBNF grammar (llama.cpp's notation) as Lark."""
    if not isinstance(text, str):
        raise GrammarError("The grammar must be a string.", "structured_outputs")
    try:
        return llguidance.grammar_from("grammar", text)
    except ValueError as error:
        raise GrammarError(f"The grammar is not valid: {error}", "structured_outputs") from error


def _matcher(tokens: Tokens, grammar: str, param: str) -> llguidance.LLMatcher:
    try:
        return tokens.matcher(grammar)
    except GrammarError as error:
        raise type(error)(f"This cannot be enforced: {error}.", error.param or param) from None


def _param(output: OutputFormat) -> str:
    return "response_format" if output.kind.startswith("json") else "structured_outputs"


def _key(
    output: OutputFormat | None,
    calls: tuple[Dialect, Tools] | None,
    choice: ToolChoice,
    reasoning: Reasoning | None,
    thinking: Thinking,
) -> bytes:
    """Return the content of a request's constraint, by which its grammar is kept."""
    dialect, functions = (calls[0].name, calls[1].functions) if calls is not None else ("", ())
    asked = (output, dialect, functions, choice.mode, choice.parallel, reasoning, thinking)
    return msgspec.json.encode(asked)
