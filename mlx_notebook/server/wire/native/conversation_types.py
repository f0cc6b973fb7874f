"""The bodies of `mlx/conversations`. Times are in Unix seconds, sizes in bytes."""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

# The path of a notebook as Jupyter's contents API has it.
NotebookPath = Annotated[str, Meta(max_length=4096)]
Title = Annotated[str, Meta(min_length=1, max_length=200)]


class SavedConversation(Struct, kw_only=True):
    """A conversation about a notebook. `content` is any JSON; the page that saves it knows what."""

    notebook: NotebookPath
    title: Title
    content: msgspec.Raw


class ConversationUpload(SavedConversation, kw_only=True):
    """A conversation to save.

    `based_on` is the `changed` of the saved one that this one goes on from, or null if it is new.
    If another one is saved by now, this one is refused. Without `based_on` it replaces any.
    """

    based_on: float | UnsetType | None = UNSET


class VersionedConversation(SavedConversation, kw_only=True):
    """A saved conversation. `changed` says when its content was saved."""

    changed: float


class ConversationChange(Struct, kw_only=True, forbid_unknown_fields=True):
    """What to change of a conversation besides its content."""

    notebook: NotebookPath | UnsetType = UNSET
    title: Title | UnsetType = UNSET


class ConversationSummary(Struct, kw_only=True):
    """A conversation in a list. `changed` says when its content was saved last."""

    id: str
    notebook: str
    title: str
    changed: float
    bytes: int


class ConversationList(Struct):
    """The conversations of a user, the last changed one first."""

    data: list[ConversationSummary]
    object: Literal["list"] = "list"


class DeletedConversation(Struct):
    """The answer to a deletion."""

    id: str
    deleted: Literal[True] = True


SAVE_DECODER = msgspec.json.Decoder(ConversationUpload)
CHANGE_DECODER = msgspec.json.Decoder(ConversationChange)
