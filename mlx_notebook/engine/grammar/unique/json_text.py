"""Follow the text of a JSON value byte by byte, and note the items of arrays that must differ."""

import copy
import json
from enum import Enum, auto
from typing import Any, Self

from mlx_notebook.engine.grammar.unique.places import SchemaPlaces, Schemas, are_any_texts

_SPACE = b" \n\r\t"


class Part(Enum):
    """What is being written."""

    VALUE = auto()
    STRING = auto()
    LITERAL = auto()
    AFTER = auto()
    KEY = auto()
    COLON = auto()
    DONE = auto()


class Container:
    """An array or object that is being written.

    Attributes
    ----------
    schemas
        The schemas that may apply to it.
    unique
        Whether it is an array whose items must differ.
    is_open
        Whether the items are any texts, so that another one can always be written.
    start
        Where the text of the item begins that is being written; -1 between items.
    items, values
        The earlier items of a unique array, as they were written and as values to compare.
    """

    def __init__(self, is_array: bool, schemas: Schemas, places: SchemaPlaces) -> None:
        self.is_array, self.schemas = is_array, schemas
        self.unique = is_array and any(one.get("uniqueItems") is True for one in schemas)
        is_list = not any("prefixItems" in one for one in schemas)
        self.is_open = self.unique and is_list and are_any_texts(places.of_item(schemas, 0))
        self.start, self.index, self.key = -1, 0, ""
        self.items: tuple[bytes, ...] = ()
        self.values: frozenset[str] = frozenset()


class JsonText:
    """The state of the text so far."""

    def __init__(self, places: SchemaPlaces) -> None:
        self._places = places
        self.text = b""
        self.part = Part.VALUE
        self.in_key = self.escaped = False
        self.containers: list[Container] = []
        self.unique = 0
        self._key_start = 0

    def copy(self) -> Self:
        """Return an independent copy."""
        twin = copy.copy(self)
        twin.containers = [copy.copy(container) for container in self.containers]
        return twin

    def feed(self, data: bytes) -> bool:
        r"""Process text. Return False where an item repeats an earlier one or is spelled oddly.

        Inside unique arrays `\u` and `\/` count as odd: with them, one text has many spellings.
        """
        at = len(self.text)
        self.text += data
        for byte in data:
            if not self._step(byte, at):
                return False
            at += 1
        return True

    def written(self, container: Container) -> bytes:
        """Return the text of the item that is being written; empty before it."""
        return self.text[container.start :] if container.start >= 0 else b""

    def may_repeat(self) -> bool:
        """Whether the text may still become that of an item that repeats an earlier one."""
        for container in self.containers:
            if not container.unique or container.is_open:
                continue
            if container.start < 0:
                if container.items:
                    return True
                continue
            text = self.text[container.start :]
            if text == b"-0" or any(item.startswith(text) for item in container.items):
                return True
        return False

    def _step(self, byte: int, at: int) -> bool:
        match self.part:
            case Part.STRING:
                return self._in_string(byte, at)
            case Part.LITERAL:
                if byte not in b",]}" + _SPACE:
                    return True
                return self._end_value(at) and self._step(byte, at)
            case _ if byte in _SPACE:
                return True
            case Part.VALUE:
                return self._begin_value(byte, at)
            case Part.AFTER | Part.KEY:
                return self._between(byte, at)
            case Part.COLON:
                self.part = Part.VALUE
        return True

    def _in_string(self, byte: int, at: int) -> bool:
        if self.escaped:
            self.escaped = False
            return not self.unique or byte not in b"u/"
        if byte == 0x5C:  # a backslash
            self.escaped = True
        elif byte == 0x22:  # a quotation mark
            if not self.in_key:
                return self._end_value(at + 1)
            self.in_key = False
            self.containers[-1].key = _read(self.text[self._key_start : at + 1])
            self.part = Part.COLON
        return True

    def _begin_value(self, byte: int, at: int) -> bool:
        parent = self.containers[-1] if self.containers else None
        if byte == 0x5D:  # an empty array ends
            return self._close(at)
        if parent is not None and parent.unique:
            parent.start = at
        if byte == 0x22:
            self.part = Part.STRING
        elif byte in b"[{":
            if parent is None:
                schemas = self._places.root
            elif parent.is_array:
                schemas = self._places.of_item(parent.schemas, parent.index)
            else:
                schemas = self._places.of_property(parent.schemas, parent.key)
            made = Container(byte == 0x5B, schemas, self._places)
            self.containers.append(made)
            self.unique += made.unique
            self.part = Part.VALUE if made.is_array else Part.KEY
        else:
            self.part = Part.LITERAL
        return True

    def _between(self, byte: int, at: int) -> bool:
        if byte in b"]}":
            return self._close(at)
        parent = self.containers[-1]
        if byte == 0x22:
            self.in_key, self._key_start, self.part = True, at, Part.STRING
        elif byte == 0x2C:  # a comma
            parent.index += 1
            self.part = Part.VALUE if parent.is_array else Part.KEY
        return True

    def _close(self, at: int) -> bool:
        closed = self.containers.pop()
        self.unique -= closed.unique
        return self._end_value(at + 1)

    def _end_value(self, end: int) -> bool:
        if not self.containers:
            self.part = Part.DONE
            return True
        self.part = Part.AFTER
        parent = self.containers[-1]
        if not parent.unique:
            return True
        item = self.text[parent.start : end]
        value = comparable(_read(item))
        parent.start = -1
        if value in parent.values:
            return False
        parent.items += (b"0" if item == b"-0" else item,)
        parent.values |= {value}
        return True


def comparable(value: Any) -> str:
    """Return a text that equal JSON values share: 1 and 1.0 are the same number, 1 is not true."""
    return json.dumps(_normal(value), sort_keys=True)


def _normal(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_normal(item) for item in value]
    if isinstance(value, dict):
        return {key: _normal(item) for key, item in value.items()}
    return value


def _read(text: bytes) -> Any:
    return json.loads(text.decode(errors="replace"), strict=False)
