"""What a model that is to be loaded will take in memory."""

from pathlib import Path
from typing import Any

import mlx.core as mx

from mlx_notebook.engine.backends.adapters import replaces_base
from mlx_notebook.engine.errors import LoadFailed, reason
from mlx_notebook.model_files.embedding_files import embeds
from mlx_notebook.model_files.footprint import (
    Footprint,
    Kept,
    Weights,
    foreseen,
    kept,
    pooling_files,
    read_arrays,
    weight_files,
)
from mlx_notebook.model_files.model_folder import check, read_json
from mlx_notebook.protocol import ModelOptions


def footprint(name: str, path: Path, options: ModelOptions) -> Footprint:
    """Predict what a model in the folder `path` will take.

    Nothing of a model is read before this has looked at its folders.

    Raises
    ------
    LoadFailed
        If it, its adapter or its draft model is not there, its files are cut off, or its folder
        holds what no library should open.
    """
    weights, keeps = _read(name, path)
    draft = _draft(name, Path(options.draft)) if options.draft else None
    folder = Path(options.adapter) if options.adapter else None
    return foreseen(
        weights,
        keeps,
        options,
        adapter=_adapter(name, folder) if folder else None,
        draft=draft,
        shareable=folder is None or not replaces_base(folder),
        full_precision=mx.default_device() == mx.cpu,
    )


def _adapter(name: str, folder: Path) -> Weights | None:
    file = folder / "adapters.safetensors"
    try:
        check(folder)
        return Weights.of(read_arrays([file])) if file.is_file() else None
    except (OSError, ValueError) as error:
        message = f"{name} cannot be loaded: of its adapter {reason(error)}."
        raise LoadFailed(message, "model") from error


def _draft(name: str, path: Path) -> tuple[Weights, Kept]:
    return _read(f"The draft model of {name} ({path.name})", path)


def _read(name: str, path: Path) -> tuple[Weights, Kept]:
    try:
        check(path)
        config = read_json(path / "config.json", type=dict[str, Any])
        files = weight_files(path)
        if not files:
            raise FileNotFoundError("safetensors file")
        if embeds(name, path, config):
            return Weights.of(read_arrays([*files, *pooling_files(path)])), Kept()
        return Weights.of(read_arrays(files)), kept(config)
    except FileNotFoundError as error:
        missing = Path(error.filename).name if error.filename else str(error)
        message = f"{name} cannot be loaded: there is no {missing} in its folder."
        raise LoadFailed(message, "model") from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise LoadFailed(f"{name} cannot be loaded: {reason(error)}.", "model") from error
