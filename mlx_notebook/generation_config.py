"""How a model chooses tokens where a request leaves it open; server and engine read it alike."""

import json
from collections.abc import Mapping
from pathlib import Path

from mlx_notebook.messages import Sampling

_OURS = {"temperature": 0.7, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}


def read_choices(folder: Path) -> dict[str, float]:
    """Return the sampling settings that a model's authors chose, by their names in `Sampling`.

    Raises
    ------
    ValueError
        If its `generation_config.json` is not readable, or one of them is no number.
    """
    file = folder / "generation_config.json"
    if not file.is_file():
        return {}
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file.name} is not readable JSON ({error})") from error
    if not isinstance(settings, dict):
        raise ValueError(f"{file.name} holds no settings")
    if settings.get("do_sample") is False:
        return {"temperature": 0.0}
    chosen = {name: settings[name] for name in _OURS if settings.get(name) is not None}
    for name, value in chosen.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{name} in {file.name} is no number")
    return chosen


def in_force(sampling: Sampling, authors: Mapping[str, float]) -> dict[str, float]:
    """Return the settings of a request by name: its own, else the authors', else ours."""
    own = {name: getattr(sampling, name) for name in _OURS}
    return {**_OURS, **authors, **{name: x for name, x in own.items() if x is not None}}
