"""The memory that a model needs, predicted before it is loaded."""

from pathlib import Path

import mlx.core as mx

from mlx_notebook.engine.backends.adapters import replaces_base
from mlx_notebook.engine.errors import LoadFailed, reason
from mlx_notebook.model_files.footprint import (
    Footprint,
    KVCacheSize,
    WeightBytes,
    predict_footprint,
    read_sizes,
)
from mlx_notebook.model_files.model_folder import check
from mlx_notebook.model_files.safetensors_headers import read_arrays
from mlx_notebook.protocol import ModelOptions


def footprint(name: str, path: Path, options: ModelOptions) -> Footprint:
    """Predict the memory of the model in the folder `path`.

    This checks the model's folders before any library reads them.

    Raises
    ------
    LoadFailed
        If the model, its adapter or its draft model is missing, a file is cut off, or a folder
        holds what no library should open.
    """
    weights, kv_cache = _read(name, path)
    draft = _draft(name, Path(options.draft)) if options.draft else None
    folder = Path(options.adapter) if options.adapter else None
    return predict_footprint(
        weights,
        kv_cache,
        options,
        adapter=_adapter(name, folder) if folder else None,
        draft=draft,
        shareable=folder is None or not replaces_base(folder),
        full_precision=mx.default_device() == mx.cpu,
    )


def _adapter(name: str, folder: Path) -> WeightBytes | None:
    file = folder / "adapters.safetensors"
    try:
        check(folder)
        return WeightBytes.of(read_arrays([file])) if file.is_file() else None
    except (OSError, ValueError) as error:
        message = f"{name} cannot be loaded: of its adapter {reason(error)}."
        raise LoadFailed(message, "model") from error


def _draft(name: str, path: Path) -> tuple[WeightBytes, KVCacheSize]:
    return _read(f"The draft model of {name} ({path.name})", path)


def _read(name: str, path: Path) -> tuple[WeightBytes, KVCacheSize]:
    try:
        return read_sizes(name, path)
    except FileNotFoundError as error:
        missing = Path(error.filename).name if error.filename else str(error)
        message = f"{name} cannot be loaded: there is no {missing} in its folder."
        raise LoadFailed(message, "model") from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise LoadFailed(f"{name} cannot be loaded: {reason(error)}.", "model") from error
