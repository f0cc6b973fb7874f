"""Say how much a user may use, and which models: what `MlxNotebookApp.user_limits` means."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Literal, get_args

import msgspec

from mlx_notebook.server.errors import Forbidden
from mlx_notebook.server.users.user import User

EVERYONE, GROUP = "*", "group:"
"""Names of entries of the setting: for all users, and for a group (followed by its name)."""

Action = Literal["use", "load", "swap", "pin", "unload", "download", "jobs"]

_COUNTS = ("requests_in_flight", "tokens_per_minute")
_MODELS = (*get_args(Action), "mcp")

Models = bool | frozenset[str]
"""All models, none, or those whose names match one of these patterns."""

_REFUSALS: dict[Action, str] = {
    "use": "You may not use the model {model!r}.",
    "load": "You may not load models into memory, and {model!r} is not there.",
    "swap": "You may not load {model!r} in place of another model.",
    "pin": "You may not pin the model {model!r}, or unpin it.",
    "unload": "You may not unload the model {model!r}.",
    "download": "You may not download the model {model!r}.",
    "jobs": "You may not start jobs with the model {model!r}.",
}


class UserLimit(msgspec.Struct, frozen=True, kw_only=True):
    """What one user may do.

    Attributes
    ----------
    requests_in_flight
        Most requests that run or wait at a time. None: any number.
    tokens_per_minute
        Most tokens of prompts and answers in a minute. None: any number.
    use, load, swap, pin, unload, download
        Models that the user may use, load into memory, load in place of others, and so on.
    jobs
        Models from which the user may make others, in jobs such as fine-tuning.
    mcp
        MCP servers that the user may use, by their configured names or their hosts.
    """

    requests_in_flight: int | None = None
    tokens_per_minute: int | None = None
    use: Models = True
    load: Models = True
    swap: Models = True
    pin: Models = False
    unload: Models = False
    download: Models = False
    jobs: Models = False
    mcp: Models = False

    def allows(
        self, action: Action | Literal["mcp"], model: str, aliases: Iterable[str] = ()
    ) -> bool:
        """Whether the user may do something with a model, or with one of its adapters."""
        models: Models = getattr(self, action)
        if isinstance(models, bool):
            return models
        names = (model, model.partition("+")[0], *aliases)
        return any(fnmatchcase(name, pattern) for name in names for pattern in models)

    def check(self, action: Action, model: str, aliases: Iterable[str] = ()) -> None:
        """Check that the user may do something with a model.

        Raises
        ------
        Forbidden
            If they may not.
        """
        if not self.allows(action, model, aliases):
            raise Forbidden(
                f"{_REFUSALS[action].format(model=model)} Who runs this server decides that "
                "(MlxNotebookApp.user_limits)." + self._alternatives(action),
                param="model",
            )

    def _alternatives(self, action: Action) -> str:
        models: Models = getattr(self, action)
        if isinstance(models, bool) or not models:
            return ""
        return f" Models for which you may: {', '.join(sorted(models))}."


UNLIMITED = UserLimit(pin=True, unload=True, download=True, jobs=True, mcp=True)
"""What an admin may do."""


class UserLimits:
    """Know the limits of each user.

    Parameters
    ----------
    setting
        Entries by the name of a user, `group:NAME`, or `*`.

    Raises
    ------
    ValueError
        If it is not valid. The message says where.
    """

    def __init__(self, setting: Mapping[str, Mapping[str, Any]]) -> None:
        self._entries = {name: _checked(name, entry) for name, entry in setting.items()}

    def of(self, user: User) -> UserLimit:
        """Return the limits of a user: of the user, else of the groups, else of everyone.

        Of several groups the most generous one counts. For an admin, only an entry of that name
        does.
        """
        own = self._values([user.name]) if user.name else {}
        if user.admin:
            return msgspec.structs.replace(UNLIMITED, **own)
        groups = self._values([f"{GROUP}{group}" for group in user.groups])
        return UserLimit(**{**self._values([EVERYONE]), **groups, **own})

    def _values(self, names: Iterable[str]) -> dict[str, Any]:
        """Return what the entries with these names say: of each limit the most generous one."""
        merged: dict[str, Any] = {}
        for entry in (self._entries[name] for name in names if name in self._entries):
            for name, value in entry.items():
                merged[name] = _most(merged[name], value) if name in merged else value
        return merged


def _most(one: Any, other: Any) -> Any:
    """Return the more generous of two values of a limit."""
    if isinstance(one, bool | frozenset):
        return (
            True if one is True or other is True else (one or frozenset()) | (other or frozenset())
        )
    return None if one is None or other is None else max(one, other)


def _checked(name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of an entry of the setting.

    Raises
    ------
    ValueError
        If it is not valid.
    """
    if not name or name == GROUP:
        raise ValueError(f"{name!r} is no name: use '*', 'group:NAME', or the name of a user")
    if not isinstance(entry, Mapping):
        raise ValueError(f"[{name!r}] is a dictionary of limits, and not {entry!r}")
    return {limit: _checked_value(f"[{name!r}]", limit, value) for limit, value in entry.items()}


def _checked_value(where: str, limit: str, value: Any) -> Any:
    if limit in _COUNTS:
        if value is None or (isinstance(value, int) and not isinstance(value, bool) and value > 0):
            return value
        raise ValueError(f"{where}: {limit} is a whole number from 1 on, or None, not {value!r}")
    if limit in _MODELS:
        if isinstance(value, bool):
            return value
        if isinstance(value, list | tuple | set | frozenset) and all(
            isinstance(pattern, str) for pattern in value
        ):
            return frozenset(value)
        raise ValueError(f"{where}: {limit} is True, False or a list of models, not {value!r}")
    raise ValueError(f"{where}: there is no limit {limit!r}, but {', '.join(_COUNTS + _MODELS)}")
