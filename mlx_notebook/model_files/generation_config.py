"""Sampling defaults: the model's `generation_config.json`, then ours."""

import math
from collections.abc import Mapping
from pathlib import Path

import msgspec

from mlx_notebook.model_files.model_folder import read_json
from mlx_notebook.protocol import Sampling

_DEFAULTS = {"temperature": 0.7, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
# The ranges of transformers and vLLM. Some authors write -1 for "no top_k".
_RANGES = {
    "temperature": (0.0, math.inf),
    "top_p": (0.0, 1.0),
    "top_k": (-1, 2**31 - 1),
    "min_p": (0.0, 1.0),
    "repetition_penalty": (0.01, 100.0),
}


def read_sampling_defaults(folder: Path) -> dict[str, float]:
    """Return the sampling parameters in a model's folder, by their names in `Sampling`.

    Raises
    ------
    ValueError
        If `generation_config.json` is not valid, or a value is out of range.
    OSError
        If the file cannot be read.
    """
    file = folder / "generation_config.json"
    if not file.exists():
        return {}
    settings = read_json(file)
    if not isinstance(settings, dict):
        raise ValueError(f"{file.name} holds no settings")
    if settings.get("do_sample") is False:
        return {"temperature": 0.0}
    chosen = {name: settings[name] for name in _DEFAULTS if settings.get(name) is not None}
    for name, value in chosen.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{name} in {file.name} is no number")
        least, most = _RANGES[name]
        if not least <= value <= most:
            raise ValueError(
                f"{name} in {file.name} is {value:g}, and must be "
                + (f"{least:g} or more" if math.isinf(most) else f"from {least:g} to {most:g}")
            )
    if "top_k" in chosen:
        chosen["top_k"] = max(0, int(chosen["top_k"]))
    return chosen


def fill_sampling(sampling: Sampling, *defaults: Mapping[str, float]) -> Sampling:
    """Return the sampling of a request with defaults for what it leaves open.

    The request comes first, then the defaults in their order: the settings of the model, its
    `generation_config.json`, our own.
    """
    merged: dict[str, float] = {}
    for values in reversed(defaults):
        merged.update(values)
    missing = {name: x for name, x in merged.items() if getattr(sampling, name) is None}
    return msgspec.structs.replace(sampling, **missing) if missing else sampling


def effective_sampling(sampling: Sampling, defaults: Mapping[str, float]) -> dict[str, float]:
    """Return the sampling parameters that a model uses for a request.

    `defaults` are those of its `generation_config.json`.
    """
    filled = fill_sampling(sampling, defaults, _DEFAULTS)
    return {name: getattr(filled, name) for name in _DEFAULTS}
