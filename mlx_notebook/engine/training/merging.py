"""Write a model of its own: a base model with an adapter merged into its weights."""

import shutil
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_unflatten
from mlx_lm.utils import dequantize_model, save

from mlx_notebook.engine.backends.adapters import apply_adapter
from mlx_notebook.engine.errors import LoadFailed
from mlx_notebook.engine.jobs.job_channel import JobChannel
from mlx_notebook.engine.training.base_model import open_base
from mlx_notebook.protocol import MergeSpec


def merge(spec: MergeSpec, channel: JobChannel) -> dict[str, Any]:
    """Merge an adapter into its model, and write the folder of the new model.

    Returns
    -------
    The new model's name and its bytes on disk.

    Raises
    ------
    EngineError
        If the model or the adapter cannot be loaded.
    StopWanted
        If the job is to stop. Nothing is kept then.
    """
    channel.progress("loading the model")
    folder = Path(spec.folder)
    model, tokenizer, config = open_base(
        spec.model, Path(spec.path), trust_remote_code=spec.trust_remote_code
    )
    try:
        apply_adapter(model, Path(spec.adapter))
    except ValueError as error:
        raise LoadFailed(f"{spec.model} cannot be loaded: {error}", "model") from error
    channel.check()
    channel.progress("merging")
    merged = [
        (name, module.fuse(dequantize=spec.dequantize))
        for name, module in model.named_modules()
        if hasattr(module, "fuse")
    ]
    model.update_modules(tree_unflatten(merged))
    if spec.dequantize and config.pop("quantization", None) is not None:
        config.pop("quantization_config", None)
        model = dequantize_model(model)
    channel.check()
    channel.progress("writing the model")
    new = folder.parent / ".unfinished" / f".{folder.name}"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        save(new, spec.path, model, tokenizer, config, donate_model=True)
        channel.memory(mx.get_peak_memory())
        channel.check()
        new.rename(folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    size = sum(file.stat().st_size for file in folder.iterdir())
    return {"model": spec.name, "bytes": size, "path": str(folder)}
