"""Convert a model: read it, quantise it, measure what that costs, and write the new one.

The new folder has another name until it is complete, so that nobody finds half a model.
"""

import copy
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm.convert import mixed_quant_predicate_builder
from mlx_lm.utils import (
    compute_bits_per_weight,
    dequantize_model,
    quantize_model,
    save_config,
    save_model,
)

from mlx_notebook.engine.backends.weight_sources import GgufSource, WeightSource, open_source
from mlx_notebook.engine.conversion.calibrated import awq, dwq
from mlx_notebook.engine.conversion.perplexity import TEXT, perplexity, windows_of
from mlx_notebook.engine.errors import InvalidRequest, reason
from mlx_notebook.engine.jobs.job_channel import JobChannel, StopWanted
from mlx_notebook.protocol import ConvertSpec

_TYPES = ("float16", "bfloat16", "float32")
# Files of a folder that say how its model is used.
_KEPT = (".json", ".jinja", ".txt", ".model", ".tiktoken", ".py")
_OWN = ("config.json", "model.safetensors.index.json")


def convert(spec: ConvertSpec, channel: JobChannel) -> dict[str, Any]:
    """Convert a model, and return figures of the new one.

    Raises
    ------
    InvalidRequest
        If the model cannot be converted so; the message says why.
    StopWanted
        If the job is to stop. Nothing is kept then.
    """
    folder, work = Path(spec.folder), Path(spec.work)
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        result = _converted(spec, work, channel)
        channel.check()
        folder.parent.mkdir(parents=True, exist_ok=True)
        os.rename(work, folder)
    except StopWanted as stop:
        stop.text = "The conversion was stopped. Nothing of it is kept."
        raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return {"model": spec.name, "path": spec.folder, **result}


def _converted(spec: ConvertSpec, work: Path, channel: JobChannel) -> dict[str, Any]:
    try:
        source = open_source(Path(spec.path), trusted=spec.trust_remote_code)
        tokenizer = source.tokenizer()
        model = source.build()
        for done in source.read(model):
            channel.progress("reading", done, spec.bytes, "bytes")
            channel.check()
        windows = windows_of(
            tokenizer.encode(spec.text or TEXT), source.config.get("max_position_embeddings")
        )
    except (ValueError, OSError) as error:
        message = reason(error).removesuffix(".")
        raise InvalidRequest(f"{spec.model} cannot be converted: {message}.", "model") from error
    config = copy.deepcopy(source.config)
    before = _perplexity(model, windows, "checking the model as it is", channel)
    bytes_before = _bytes(model)
    if config.pop("quantization", None) is not None:
        channel.note(
            f"{spec.model} is quantised already. What that has lost stays lost: from the original "
            "weights the new model would be better."
        )
        config.pop("quantization_config", None)
        # In 32 bits, so that what is quantised next is the value and not a rounded one.
        model.set_dtype(mx.float32)
        model = dequantize_model(model)
    model.set_dtype(getattr(mx, _dtype(spec, config)))
    config["torch_dtype"] = _dtype(spec, config)
    if spec.bits is not None:
        channel.progress("quantising")
        model, config = _quantized(spec, model, config, windows, channel)
    channel.check()
    after = _perplexity(model, windows, "checking the new model", channel)
    channel.progress("writing")
    save_model(work, model)
    _copy_texts(source, Path(spec.path), config, work)
    save_config(config, work / "config.json")
    channel.memory(mx.get_peak_memory())
    return {
        "bits_per_weight": round(compute_bits_per_weight(model), 3),
        "bytes": _bytes(model),
        "bytes_before": bytes_before,
        "perplexity": round(after, 4),
        "perplexity_before": round(before, 4),
        "tokens_checked": sum(window.size for window in windows),
    }


def _quantized(
    spec: ConvertSpec,
    model: Any,
    config: dict[str, Any],
    windows: list[mx.array],
    channel: JobChannel,
) -> tuple[Any, dict[str, Any]]:
    if spec.method == "awq":
        return awq(spec, model, config, windows, channel)
    predicate = None
    if spec.recipe is not None:
        try:
            predicate = mixed_quant_predicate_builder(spec.recipe, model, spec.group_size)
        except ValueError as error:
            raise InvalidRequest(
                f"{spec.model} cannot be converted with the recipe {spec.recipe}: {error}", "recipe"
            ) from error
    teacher = copy.deepcopy(model) if spec.method == "dwq" else None
    model, config = quantize_model(
        model, config, spec.group_size, spec.bits, quant_predicate=predicate
    )
    if teacher is not None:
        dwq(spec, model, teacher, windows, channel)
    return model, config


def _perplexity(model: Any, windows: list[mx.array], phase: str, channel: JobChannel) -> float:
    """Return the perplexity, computed in 32 bits on a CPU, where other types are slow."""

    def report(done: int, total: int) -> None:
        channel.progress(phase, done, total, "windows")
        channel.memory(mx.get_peak_memory())
        channel.check()

    if mx.default_device() != mx.cpu:
        return _measured(model, windows, report)
    types = [(name, array.dtype) for name, array in tree_flatten(model.parameters())]
    model.set_dtype(mx.float32)
    found = _measured(model, windows, report)
    parameters = dict(tree_flatten(model.parameters()))
    # Back to what they were: widening loses nothing, so nothing is lost in all.
    model.load_weights([(name, parameters[name].astype(dtype)) for name, dtype in types])
    return found


def _measured(model: Any, windows: list[mx.array], report: Callable[[int, int], None]) -> float:
    try:
        return perplexity(model, windows, report)
    except ValueError as error:
        raise InvalidRequest(f"The model cannot be checked: {error}.", "model") from error


def _dtype(spec: ConvertSpec, config: dict[str, Any]) -> str:
    stated = spec.dtype or config.get("torch_dtype") or config.get("dtype")
    return stated if stated in _TYPES else "bfloat16"


def _bytes(model: Any) -> int:
    return sum(array.nbytes for _, array in tree_flatten(model.parameters()))


def _copy_texts(source: WeightSource, path: Path, config: dict[str, Any], work: Path) -> None:
    """Copy the tokenizer, the chat template and the defaults of a model into its new folder."""
    if isinstance(source, GgufSource):
        with TemporaryDirectory() as made:
            config["eos_token_id"] = source.write_tokenizer(Path(made))
            for name in ("tokenizer.json", "tokenizer_config.json"):
                shutil.copyfile(Path(made, name), work / name)
        return
    for file in sorted(path.iterdir()):
        if file.suffix in _KEPT and file.name not in _OWN and file.is_file():
            shutil.copyfile(file, work / file.name)
