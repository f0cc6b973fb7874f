"""The types of `mlx/settings`: settings of the server, and changes of them."""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

_Name = Annotated[str, Meta(max_length=512)]
_Path = Annotated[str, Meta(min_length=1, max_length=4096)]


class ServerSetting(Struct):
    """A setting of the server. `obstacle` says why the caller cannot change it, if they cannot.

    `value` is null where the caller may not see it.
    """

    name: str
    value: Any
    default: Any
    description: str
    changeable: bool
    obstacle: str | None


class ServerSettings(Struct):
    """The settings that an admin may change while the server runs."""

    settings: list[ServerSetting]


class SettingChanges(Struct, forbid_unknown_fields=True, kw_only=True):
    """Changes of settings. What is left out stays, and null is the default."""

    default_model: _Name | UnsetType | None = UNSET
    completion_model: _Name | UnsetType | None = UNSET
    models_dirs: Annotated[list[_Path], Meta(max_length=100)] | UnsetType | None = UNSET
    idle_unload_minutes: Annotated[float, Meta(ge=0, le=525600)] | UnsetType | None = UNSET

    def as_dict(self) -> dict[str, Any]:
        """Return the changes by the names of settings."""
        given = {name: getattr(self, name) for name in self.__struct_fields__}
        return {name: value for name, value in given.items() if value is not UNSET}


DECODER = msgspec.json.Decoder(SettingChanges)
