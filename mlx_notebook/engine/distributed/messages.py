"""What rank 0 tells the other ranks, and what they answer."""

import msgspec

from mlx_notebook.engine.distributed.sharding import Division
from mlx_notebook.protocol import ModelOptions


class Begin(msgspec.Struct, frozen=True, tag="begin", array_like=True):
    """Load a rank's part of a model.

    Attributes
    ----------
    model
        Number of the model's object.
    name, path, options
        As for `selection.load`. A path in rank 0's home folder begins with `~`.
    division
        How the model is divided.
    files
        `sharding.describe_files` on rank 0, which must be the same on every rank.
    """

    model: int
    name: str
    path: str
    options: ModelOptions
    division: Division
    files: str


class Call(msgspec.Struct, frozen=True, tag="call", array_like=True):
    """Call a function, and give its result a number.

    Attributes
    ----------
    function
        A key of `FUNCTIONS`.
    model
        Number of the model that it works on.
    objects, numbers
        Its arguments: numbers of objects, and integers.
    result
        Number of its result.
    dropped
        Numbers of the objects that nobody uses any more.
    """

    function: str
    model: int
    objects: list[int]
    numbers: list[int]
    result: int
    dropped: list[int]


class Drop(msgspec.Struct, frozen=True, tag="drop", array_like=True):
    """Forget objects that nobody uses any more."""

    dropped: list[int]


Message = Begin | Call | Drop


class LoadEnded(msgspec.Struct, frozen=True):
    """The answer to `Begin`: the rank's part is in memory, or why it is not."""

    model: int
    error: str | None = None
