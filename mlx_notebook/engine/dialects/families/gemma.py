"""Gemma 4 and FunctionGemma: call:name{key:value,...} with strings between special marks.

Sources: the chat templates of google/gemma-4 and google/functiongemma-270m-it.
"""

from contextlib import suppress
from typing import Any, ClassVar

from mlx_notebook.engine.dialects.dialect import Dialect, Layout, StartMarker
from mlx_notebook.engine.dialects.notations import json_calls
from mlx_notebook.engine.dialects.notations.json_calls import load
from mlx_notebook.engine.dialects.text_source import Parsing, TextSource
from mlx_notebook.engine.functions.arguments import conform, dumps, from_text
from mlx_notebook.engine.functions.declared import DeclaredFunctions, Function
from mlx_notebook.engine.functions.parse_errors import Malformed
from mlx_notebook.engine.grammar.lark import LarkRules
from mlx_notebook.engine.grammar.literals import LiteralRules, LiteralSyntax


class Gemma4(Dialect):
    """`<|tool_call>call:name{key:<|"|>text<|"|>,other:3}<tool_call|>`.

    The models also write `call:name(key="text")`, other quotation marks, and namespaces before the
    name.
    """

    name = "gemma4"
    layout = Layout(open="<|tool_call>", close="<tool_call|>", join="")
    starts: ClassVar[tuple[StartMarker, ...]] = (StartMarker("<|tool_call>"),)
    string_mark: ClassVar[str] = '<|"|>'

    def region(self, source: TextSource) -> Parsing[None]:
        """Parse the calls of a region, of which there should be one."""
        close = self.layout.close
        while (yield from source.ahead()):
            text, mark = yield from source.until(close, "call:", "{", "(", keep=True)
            if mark == close:
                source.set_apart(text)
                source.pos += len(close)
                return
            if mark == "{" and not text.strip():
                yield from json_calls.call(source)
            elif mark == "call:" or _known(text, source.tools):
                if mark == "call:":
                    source.set_apart(text)
                    source.pos += len(mark)
                    text, mark = yield from source.until(close, "{", "(", keep=True)
                function = source.start(_known(text, source.tools) or text.strip())
                if mark == close:
                    source.arguments("{}")
                else:
                    source.pos += 1
                    yield from self._arguments(source, function, "}" if mark == "{" else ")")
            else:
                source.pos += 1
                source.set_apart(text + mark)
                continue
            source.end()

    def _arguments(self, source: TextSource, function: Function, close: str) -> Parsing[None]:
        count = 0
        while True:
            if (yield from self._next(source, close, first=count == 0)):
                break
            key = yield from self._key(source)
            source.arguments(("{" if count == 0 else ", ") + dumps(key) + ": ")
            count += 1
            schema = function.properties.get(key)
            yield from source.space()
            if (yield from source.accept(self.string_mark)) is not None:
                # Strings are streamed, so that a long document appears while it is written.
                source.arguments('"')
                yield from source.until(
                    self.string_mark, emit=lambda text: source.arguments(dumps(text)[1:-1])
                )
                source.arguments('"')
                continue
            value = yield from self._value(source, schema, function.parameters, close)
            source.arguments(dumps(conform(value, schema, function.parameters)))
        source.arguments("}" if count else "{}")

    def _next(self, source: TextSource, close: str, *, first: bool) -> Parsing[bool]:
        """Read what stands before a member, and return whether `close` came instead of one."""
        mark = yield from source.space()
        if not first and mark not in (",", close):
            raise Malformed(f"Expected ',' or {close!r} and found {source.rest[:20]!r}.")
        while mark == ",":
            source.pos += 1
            mark = yield from source.space()
        if mark == close:
            source.pos += 1
        return mark == close

    def _key(self, source: TextSource) -> Parsing[str]:
        """Read a key, bare or between string marks, and the colon or equals sign after it."""
        mark = yield from source.space()
        if (yield from source.accept(self.string_mark)) is not None:
            key, _ = yield from source.until(self.string_mark)
        elif mark in ("'", '"'):
            key = yield from json_calls.string(source)
        else:
            key, _ = yield from source.until(":", "=", keep=True)
            key = key.strip()
            if not key or any(mark in key for mark in "(){},"):
                raise Malformed(f"Expected a parameter's name and found {key[:40]!r}.")
        yield from source.space()
        if (yield from source.accept(":", "=")) is None:
            yield from source.expect(":")
        return key

    def _value(self, source: TextSource, schema: Any, root: Any, close: str) -> Parsing[Any]:
        mark = yield from source.space()
        if (yield from source.accept(self.string_mark)) is not None:
            text, _ = yield from source.until(self.string_mark)
            return text
        if mark in ("'", '"'):
            return (yield from json_calls.string(source))
        if mark == "`":
            source.pos += 1
            text, _ = yield from source.until("`")
            return text
        if mark == "[":
            return (yield from self._list(source, root))
        if mark == "{":
            return (yield from self._object(source, root))
        text, _ = yield from source.until(",", close, keep=True)
        return from_text(text.strip(), schema, root)

    def _list(self, source: TextSource, root: Any) -> Parsing[list[Any]]:
        source.pos += 1
        found: list[Any] = []
        while not (yield from self._next(source, "]", first=not found)):
            found.append((yield from self._value(source, None, root, "]")))
        return found

    def _object(self, source: TextSource, root: Any) -> Parsing[dict[str, Any]]:
        source.pos += 1
        found: dict[str, Any] = {}
        while not (yield from self._next(source, "}", first=not found)):
            key = yield from self._key(source)
            found[key] = yield from self._value(source, None, root, "}")
        return found

    def _syntax(self) -> LiteralSyntax:
        return LiteralSyntax("true", "false", "null", lambda key: f"{key}:", ",", self.string_mark)

    def write_call(self, name: str, arguments: str) -> str:
        """Return the call without the region's marks."""
        found = load(arguments)
        if not isinstance(found, dict):
            raise Malformed("The arguments are not a JSON object.")
        return f"call:{name}{self._syntax().literal(found)}"

    def constrain_call(self, function: Function, rules: LarkRules) -> str:
        """Return an expression for the call with its parameters in declared order."""
        syntax = self._syntax()
        literals = LiteralRules(syntax, rules, function.parameters, function.strict, self.name)
        pairs = [
            (f"{rules.text(syntax.key(key))} {literals.value(schema)}", key in function.required)
            for key, schema in function.properties.items()
        ]
        body = literals.sequence(pairs)
        return f"{rules.text(f'call:{function.name}{{')} {body} {rules.text('}')}"


def _known(text: str, tools: DeclaredFunctions) -> str | None:
    """Return the declared function that `text` names, with or without namespaces before it."""
    name = text.strip()
    for known in (name, name.rpartition(":")[2], name.rpartition(".")[2]):
        with suppress(Malformed):  # then it is another of the names, or none
            return tools.resolve(known).name
    return None


class FunctionGemma(Gemma4):
    """The same format with FunctionGemma's marks."""

    name = "function_gemma"
    layout = Layout(open="<start_function_call>", close="<end_function_call>", join="")
    starts: ClassVar[tuple[StartMarker, ...]] = (StartMarker("<start_function_call>"),)
    string_mark: ClassVar[str] = "<escape>"
