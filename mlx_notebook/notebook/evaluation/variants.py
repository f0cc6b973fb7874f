"""What is compared: models, each with one or several sets of settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlx_notebook.notebook.chat.request_settings import request_settings
from mlx_notebook.notebook.errors import NotebookError
from mlx_notebook.notebook.human_units import format_bytes
from mlx_notebook.notebook.server.server import Server


@dataclass(frozen=True)
class Variant:
    """A model with settings.

    Attributes
    ----------
    model
        Its name.
    settings
        All parameters of its requests.
    label
        Its name in tables: the model, and the settings that are not common to all.
    """

    model: str
    settings: Mapping[str, Any]
    label: str


def variants_of(
    models: str | Sequence[str], settings: Any, common: Mapping[str, Any], word: str = "evaluate"
) -> list[Variant]:
    """Return each model with each set of settings, for a function of the name `word`.

    Raises
    ------
    NotebookError
        If one of them occurs twice, settings are no dicts, or there is no such setting.
    """
    names = [models] if isinstance(models, str) else list(models)
    sets = [{}] if settings is None else [settings] if isinstance(settings, Mapping) else settings
    if not isinstance(sets, Sequence) or not all(isinstance(one, Mapping) for one in sets):
        raise NotebookError("settings must be a dict, or a list of dicts, such as [{'seed': 1}].")
    made = [Variant(name, {**common, **one}, _label(name, one)) for name in names for one in sets]
    if not made:
        raise NotebookError("There is no model to ask: models or settings is an empty list.")
    for variant in made:
        request_settings(variant.settings, word)
    labels = [variant.label for variant in made]
    for label in labels:
        if labels.count(label) > 1:
            raise NotebookError(f"{label} occurs twice. Leave one out.")
    return made


def why_one_by_one(server: Server, variants: Sequence[Variant]) -> str | None:
    """Return why the models must be asked one after the other; None if they fit together."""
    names = list(dict.fromkeys(variant.model for variant in variants))
    if len(names) == 1:
        return None
    listed = server.get("mlx/models", timeout=30)
    limit = listed["budget"]["limit"]
    known = {name: model for model in listed["models"] for name in _names(model)}
    asked = {model["id"]: model for name in names if (model := known.get(name)) is not None}
    pinned = {model["id"]: model for model in listed["models"] if model["pinned"]}
    need = sum(model["memory_bytes"] or 0 for model in {**pinned, **asked}.values())
    if limit is None or need <= limit or len(asked) == 1:
        return None
    return (
        f"One model after the other: together they need {format_bytes(need)}, and the memory "
        f"budget is {format_bytes(limit)}."
    )


def _names(model: Mapping[str, Any]) -> list[str]:
    return [model["id"], *model["aliases"]]


def _label(model: str, settings: Mapping[str, Any]) -> str:
    parts = [f"{name}={value}" for name, value in settings.items()]
    return ", ".join([model, *parts])
