"""Say which prefixes users share: what `MlxNotebookApp.shared_prefixes` means."""

from collections.abc import Mapping, Sequence
from typing import Any

from mlx_notebook.protocol import ChatPrompt, FillPrompt, Prompt
from mlx_notebook.server.users.user import User

_SYSTEM, _GROUP = "system", "group"


class SharedPrefixes:
    """Know what an admin has declared as shared.

    Parameters
    ----------
    setting
        For each declaration its `system` prompt, its `group`, or both.

    Raises
    ------
    ValueError
        If it is not valid. The message says where.
    """

    def __init__(self, setting: Sequence[Mapping[str, Any]]) -> None:
        for index, entry in enumerate(setting):
            _check(f"[{index}]", entry)
        self._groups = [entry[_GROUP] for entry in setting if _SYSTEM not in entry]
        # The longest one counts if several fit.
        self._systems = sorted(
            ((entry[_SYSTEM], entry.get(_GROUP)) for entry in setting if _SYSTEM in entry),
            key=lambda declared: -len(declared[0]),
        )

    def group(self, user: User) -> str | None:
        """Return the group with which a user shares all prefixes; None for none."""
        return next((group for group in self._groups if group in user.groups), None)

    def system(self, user: User, prompt: Prompt | FillPrompt) -> tuple[str, str]:
        """Return the declared system prompt with which a prompt begins, and the salt of its users.

        Both are empty if there is none.
        """
        written = _system_text(prompt)
        for text, group in self._systems:
            if written.startswith(text) and (group is None or group in user.groups):
                return text, f"shared:{group or ''}"
        return "", ""


def _system_text(prompt: Prompt | FillPrompt) -> str:
    if not isinstance(prompt, ChatPrompt) or not prompt.messages:
        return ""
    first = prompt.messages[0]
    content = first.get("content")
    return content if first.get("role") == "system" and isinstance(content, str) else ""


def _check(where: str, entry: Any) -> None:
    if not isinstance(entry, Mapping) or not entry:
        raise ValueError(f"{where}: write {{'system': TEXT}}, {{'group': NAME}}, or both")
    for name, value in entry.items():
        if name not in (_SYSTEM, _GROUP):
            raise ValueError(f"{where}: there is no {name!r}, but 'system' and 'group'")
        if not isinstance(value, str) or not value:
            raise ValueError(f"{where}: {name!r} is a text, and not {value!r}")
