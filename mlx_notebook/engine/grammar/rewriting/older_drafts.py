"""Write JSON schemas of older drafts as those of draft 2020-12, with references by place.

Changes between drafts: https://json-schema.org/specification-links.
"""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin

Schema = dict[str, Any]

_MAPS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLE = (
    *("additionalItems", "additionalProperties", "not", "if", "then", "else", "contains"),
    *("propertyNames", "unevaluatedItems", "unevaluatedProperties"),
)
_NAMES = ("$id", "id", "$anchor", "$dynamicAnchor")
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")


def as_2020_12(schema: Any) -> Any:
    """Return a schema of any draft since draft 4 in the words of draft 2020-12.

    References by name or address that lead to a place in the schema become references to the
    place. Others stay. A keyword beside a `$ref` holds too, as it does since draft 2019-09.
    """
    if not isinstance(schema, Mapping):
        return schema
    places: dict[str, str] = {}
    _collect(schema, "", _address(schema), places)
    return _Writer(places, schema).write(schema, _address(schema))


class _Writer:
    def __init__(self, places: dict[str, str], root: Mapping[str, Any]) -> None:
        self._places, self._root = places, root

    def write(self, part: Any, base: str) -> Any:
        if not isinstance(part, Mapping):
            return part
        base = urljoin(base, _address(part))
        made = _each(part, lambda one, _: self.write(one, base))
        for key in _NAMES:
            if isinstance(made.get(key), str):
                del made[key]
        for key in ("$schema", "$recursiveAnchor"):
            made.pop(key, None)
        for key in _REFERENCES:
            if isinstance(made.get(key), str):
                reference = made.pop(key)
                made["$ref"] = self._place(reference, base) or reference
        _limits(made)
        if isinstance(made.get("items"), list):
            made["prefixItems"] = made.pop("items")
            if "additionalItems" in made:
                made["items"] = made.pop("additionalItems")
        made.pop("additionalItems", None)
        return made

    def _place(self, reference: str, base: str) -> str | None:
        """Return where a reference leads in the schema; None if it leads elsewhere."""
        if reference in self._places:
            return self._places[reference]
        whole = urljoin(base, reference)
        if whole in self._places:
            return self._places[whole]
        address, fragment = urldefrag(whole)
        # Some schemas give the address of the document without its fragment mark, some with it.
        if (fragment.startswith("/") or not fragment) and address in self._places:
            start = self._places[address]
            place = start + unquote(fragment) if fragment else start
            # Many schemas give parts of them an address, and mean places in the whole all the same.
            if reference.startswith("#/") and not _leads_somewhere(self._root, place):
                return reference
            return place
        return None


def _leads_somewhere(root: Any, place: str) -> bool:
    found = root
    for part in place[1:].split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and name.isdecimal() and int(name) < len(found):
            found = found[int(name)]
        elif isinstance(found, Mapping) and name in found:
            found = found[name]
        else:
            return False
    return True


def _collect(part: Mapping[str, Any], place: str, base: str, places: dict[str, str]) -> None:
    """Note the place of each name and address."""
    base = urljoin(base, _address(part))
    if not place or _address(part):
        places.setdefault(urldefrag(base)[0], f"#{place}")
    for key in _NAMES:
        name = part.get(key)
        if isinstance(name, str) and (name.startswith("#") or "nchor" in key):
            name = name.removeprefix("#")
            if not name.startswith("/"):
                places.setdefault(f"#{name}", f"#{place}")
                places.setdefault(urljoin(base, f"#{name}"), f"#{place}")

    def inside(one: Any, way: str) -> Any:
        if isinstance(one, Mapping):
            _collect(one, f"{place}/{way}", base, places)
        return one

    _each(part, inside)


def _each(part: Mapping[str, Any], change: Callable[[Any, str], Any]) -> Schema:
    """Return a schema with a change made to each schema in it; `change` takes its way too."""
    made = dict(part)
    for key in (*_MAPS, "dependencies"):
        if isinstance(made.get(key), Mapping):
            made[key] = {
                name: change(one, f"{key}/{name.replace('~', '~0').replace('/', '~1')}")
                for name, one in made[key].items()
            }
    for key in (*_LISTS, "items"):
        if isinstance(made.get(key), list):
            made[key] = [change(one, f"{key}/{at}") for at, one in enumerate(made[key])]
    for key in (*_SINGLE, "items"):
        if isinstance(made.get(key), Mapping):
            made[key] = change(made[key], key)
    return made


def _address(part: Mapping[str, Any]) -> str:
    """Return the address that a schema gives itself, empty for a name in the document."""
    for key in ("$id", "id"):
        address = part.get(key)
        if isinstance(address, str) and not address.startswith("#"):
            return address.removesuffix("#")
    return ""


def _limits(made: Schema) -> None:
    """Write `exclusiveMinimum: true` of draft 4 as a limit."""
    for exclusive, limit in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if made.get(exclusive) is True and limit in made:
            made[exclusive] = made.pop(limit)
        elif isinstance(made.get(exclusive), bool):
            del made[exclusive]
