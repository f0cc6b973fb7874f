"""The responses of `v1/models` for Anthropic's clients.

Format: https://docs.anthropic.com/en/api/models-list.
"""

from datetime import UTC, datetime
from typing import Literal

from msgspec import Struct

from mlx_notebook.server.wire.native.model_types import ModelCard


class ModelInfo(Struct):
    """A model. `max_input_tokens` is its context length."""

    id: str
    display_name: str
    created_at: str
    max_input_tokens: int | None
    max_tokens: int | None
    type: Literal["model"] = "model"
    lifecycle: Literal["active"] = "active"

    @classmethod
    def of(cls, model: ModelCard) -> "ModelInfo":
        """Return a model in Anthropic's shape."""
        made = datetime.fromtimestamp(model.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return cls(model.id, model.id, made, model.context_window, model.context_window)


class ModelPage(Struct):
    """A page of models, the default one first."""

    data: list[ModelInfo]
    has_more: bool
    first_id: str | None
    last_id: str | None
