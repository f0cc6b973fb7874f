"""Dialects with one tag per parameter, whose string values are not quoted."""

from typing import Any, ClassVar

from mlx_notebook.engine.dialects.dialect import Dialect
from mlx_notebook.engine.dialects.notations import json_calls
from mlx_notebook.engine.dialects.notations.json_calls import load
from mlx_notebook.engine.dialects.text_source import Parsing, TextSource
from mlx_notebook.engine.functions.arguments import dumps, from_text, resolve_ref, types_of
from mlx_notebook.engine.functions.declared import Function
from mlx_notebook.engine.functions.parse_errors import Malformed
from mlx_notebook.engine.grammar.lark import LarkRules
from mlx_notebook.engine.sandbox.grammar_errors import NotEnforceable


class TagCalls(Dialect):
    """A dialect of the form NAME_OPEN name NAME_CLOSE (KEY_OPEN key KEY_CLOSE value ...)*.

    If `name_open` is empty, the region begins with the name. With `padded`, values are on separate
    lines, and one newline on each side belongs to the tags.
    """

    name_open: ClassVar[str]
    name_close: ClassVar[str]
    key_open: ClassVar[str]
    key_close: ClassVar[str]
    value_open: ClassVar[str] = ""
    value_close: ClassVar[str]
    call_close: ClassVar[str]
    padded: ClassVar[bool] = False

    # --- parsing ------------------------------------------------------------------------------

    def region(self, source: TextSource) -> Parsing[None]:
        """Parse the calls of a region. Some models write JSON in it."""
        close = self.layout.close.strip()
        if (yield from source.ahead()) == "{":
            yield from source.space()
            yield from json_calls.call(source)
            source.end()
            yield from source.skip(close)
            return
        count = 0
        while (yield from source.ahead()):
            if self.layout.nested or not count:
                # Some models write text in the region before the call.
                text, mark = yield from source.until(_bare(self.name_open), close, keep=True)
                source.set_apart(text)
                if mark == close:
                    break
            else:
                yield from source.space()
                if (yield from source.peek(len(self.name_open))) != self.name_open:
                    break
            yield from self._call(source)
            source.end()
            count += 1
        yield from source.skip(close)

    def _call(self, source: TextSource) -> Parsing[None]:
        yield from source.expect(_bare(self.name_open))
        # Some models forget the bracket.
        name, mark = yield from source.until(_bare(self.name_close), "\n", "<", keep=True)
        source.pos += len(mark) if mark == _bare(self.name_close) else 0
        function = source.start(name.strip().strip("\"'"))
        if (yield from source.ahead()) == "{":
            yield from json_calls.arguments(source)
        else:
            yield from self._parameters(source, function)
        yield from source.skip(self.call_close)

    def _parameters(self, source: TextSource, function: Function, key: str = "") -> Parsing[None]:
        """Read the parameters of a call, up to what is none. `key` is one that was read."""
        count = 0
        while key or (yield from self._opens(source)):
            if not key:
                # Some models forget the bracket.
                ends = [_bare(self.key_close), *(("\n", "<") if self.key_close == ">" else ())]
                text, mark = yield from source.until(*ends, keep=True)
                source.pos += len(mark) if mark == _bare(self.key_close) else 0
                key = text.strip().removeprefix('"')
            source.arguments(("{" if count == 0 else ", ") + dumps(self._key(key)) + ": ")
            count += 1
            yield from self._value(source, function, key)
            key = ""
        # The call need not be closed, but nothing else may stand here.
        marks = (self.call_close, self.layout.close, _bare(self.name_open), self.layout.open)
        ends = [mark.strip() for mark in marks if mark]
        if (yield from source.ahead()) and not (yield from source.comes(*ends)):
            raise Malformed(f"Expected {self.key_open!r} and found {source.rest[:20]!r}.")
        source.arguments("}" if count else "{}")

    def _opens(self, source: TextSource) -> Parsing[bool]:
        """Read the mark of a key, if it is next."""
        if not (yield from source.ahead()):
            return False
        yield from source.space()
        return (yield from source.accept(_bare(self.key_open))) is not None

    def _key(self, text: str) -> str:
        return text.strip().strip("\"'")

    def _is_text(self, function: Function, key: str) -> bool:
        """Return whether the value of `key` is a string, written literally."""
        schema = function.properties.get(self._key(key))
        return types_of(schema, function.parameters) == {"string"}

    def _value(self, source: TextSource, function: Function, key: str) -> Parsing[None]:
        if self.value_open:
            yield from source.skip(self.value_open)
        if self.padded:
            yield from source.accept("\n")
        ends = ("\n" + self.value_close, self.value_close) if self.padded else (self.value_close,)
        # Some models forget to close a value. Where a grammar made the text, none is missing.
        slips = self._slips() if source.lenient else ()
        if self._is_text(function, key):
            # Strings are streamed, so that a long document appears while it is written.
            source.arguments('"')
            _, mark = yield from source.until(
                *ends, *slips, emit=lambda text: source.arguments(dumps(text)[1:-1])
            )
            source.arguments('"')
            source.pos -= len(mark) if mark in slips else 0
            return
        text, mark = yield from source.until(*ends, *slips)
        source.pos -= len(mark) if mark in slips else 0
        schema = function.properties.get(self._key(key))
        source.arguments(dumps(self._read(text, schema, function, key)))

    def _slips(self) -> tuple[str, ...]:
        """Return the marks that end a value which is not closed. In a value, they are unlikely."""
        return ("\n" + _bare(self.key_open), "\n" + self.call_close)

    def _read(self, text: str, schema: Any, function: Function, key: str) -> Any:
        return from_text(text, schema, function.parameters)

    # --- writing ------------------------------------------------------------------------------

    def write_call(self, name: str, arguments: str) -> str:
        """Write one call with strings as they are and other values as JSON."""
        found = load(arguments)
        if not isinstance(found, dict):
            raise Malformed("The arguments are not a JSON object.")
        parts = [self.name_open, name, self._after_name()]
        for key, value in found.items():
            text = value if isinstance(value, str) else dumps(value)
            parts += [self._before_value(key, value), text, self._after_value()]
        parts.append(self.call_close)
        return "".join(parts)

    def _after_name(self) -> str:
        return self.name_close + "\n"

    def _before_value(self, key: str, value: Any) -> str:
        middle = f"\n{self.value_open}" if self.value_open else ""
        return self.key_open + key + self.key_close + middle + ("\n" if self.padded else "")

    def _after_value(self) -> str:
        return ("\n" if self.padded else "") + self.value_close + "\n"

    # --- constraining -------------------------------------------------------------------------

    def constrain_call(self, function: Function, rules: LarkRules) -> str:
        """Return an expression for a call with the declared parameters in order."""
        properties = function.properties
        if function.strict and not properties and function.required:
            raise NotEnforceable(
                f"The tool {function.name!r} requires parameters that it does not declare.", "tools"
            )
        parts = [rules.text(self.name_open + function.name + self._after_name())]
        for key, schema in properties.items():
            marked = "" if self._is_text(function, key) else None
            head = rules.text(self._before_value(key, marked))
            value = self._constrain_value(function, key, schema, rules)
            rule = rules.add("parameter", f"{head} {value}")
            parts.append(rule if key in function.required else f"{rule}?")
        parts.append(rules.text(self.call_close))
        return " ".join(part for part in parts if part)

    def _constrain_value(self, function: Function, key: str, schema: Any, rules: LarkRules) -> str:
        ending = self._after_value()
        if not self._is_text(function, key):
            value = {**schema, **_definitions(function)} if isinstance(schema, dict) else schema
            return f"{rules.json(value, strict=function.strict)} {rules.text(ending)}"
        schema = resolve_ref(schema, function.parameters)
        choices = schema.get("enum", [schema["const"]] if "const" in schema else None)
        if choices is not None:
            return f"{rules.choice(choices)} {rules.text(ending)}"
        limits = {"pattern", "format", "minLength", "maxLength", "allOf", "anyOf", "oneOf"}
        if function.strict and limits & schema.keys():
            named = sorted(limits & schema.keys())[0]
            raise NotEnforceable(
                f"{named!r} of parameter {key!r} of the tool {function.name!r} cannot be enforced "
                f"in this model's tool-call dialect ({self.name}), which writes strings unquoted.",
                "tools",
            )
        # The first closing tag ends the value, as in parsing.
        tail = ending.partition(self.value_close)[2]
        return f"{rules.until(self.value_close)} {rules.text(tail)}"


def _bare(mark: str) -> str:
    """Return a mark without its quotation mark, which models may omit."""
    return mark.strip('"')


def _definitions(function: Function) -> dict[str, Any]:
    keys = ("$defs", "definitions")
    return {key: function.parameters[key] for key in keys if key in function.parameters}
