"""`v1/models` and the orders to load and unload one."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

ModelState = Literal["loaded", "loading", "available"]
ModelSource = Literal["embedded", "folder", "cache"]


class Model(Struct):
    """A model that this server can run. `context_window` is in tokens."""

    id: str
    created: int
    context_window: int | None
    state: ModelState
    source: ModelSource
    default: bool
    capabilities: list[str]
    object: Literal["model"] = "model"
    owned_by: Literal["local"] = "local"


class ModelList(Struct):
    """All models, the default one first."""

    data: list[Model]
    object: Literal["list"] = "list"


class ModelOrder(Struct):
    """The model to load or unload, by its name."""

    model: Annotated[str, Meta(min_length=1, max_length=512)]


class LoadedModel(Struct):
    """A model that is in memory now; loading took `seconds` (0 where it was there already)."""

    model: str
    bytes: int
    context_length: int
    seconds: float


class UnloadedModel(Struct):
    """A model that is no longer in memory, and the bytes it gave back."""

    model: str
    freed: int


ORDER_DECODER = msgspec.json.Decoder(ModelOrder)
