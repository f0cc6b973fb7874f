"""The difference between two states of a panel, which is all that the browser is sent."""

from typing import Any


def merge_patch(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Return the smallest patch that turns `old` into `new`; empty if they are equal.

    Format: JSON merge patch, https://www.rfc-editor.org/rfc/rfc7396. `None` removes a member, so a
    member that is `None` counts as missing. Lists are replaced as a whole.
    """
    patch: dict[str, Any] = {name: None for name in old if new.get(name) is None}
    for name, value in new.items():
        before = old.get(name)
        if value is None or value == before:
            continue
        if isinstance(value, dict) and isinstance(before, dict):
            if inner := merge_patch(before, value):
                patch[name] = inner
        else:
            patch[name] = value
    return {name: value for name, value in patch.items() if value is not None or name in old}
