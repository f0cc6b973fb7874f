"""Quantisation that looks at a text: AWQ and DWQ, as mlx-lm has them.

AWQ scales channels by how large their inputs are: https://arxiv.org/abs/2306.00978
DWQ trains scales and biases so that the quantised model answers as the original one.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import mlx.core as mx
import mlx.optimizers as optimizers
from mlx_lm.quant import awq as mlx_lm_awq
from mlx_lm.quant import dwq as mlx_lm_dwq

from mlx_notebook.engine.errors import InvalidRequest
from mlx_notebook.engine.jobs.job_channel import JobChannel
from mlx_notebook.protocol import ConvertSpec

_LEARNING_RATE = 1e-6
_SEED = 123


def awq(
    spec: ConvertSpec,
    model: Any,
    config: dict[str, Any],
    windows: list[mx.array],
    channel: JobChannel,
) -> tuple[Any, dict[str, Any]]:
    """Quantise a model by AWQ with a text.

    Raises
    ------
    InvalidRequest
        If mlx-lm has no AWQ for its architecture, or the text is too short.
    """
    known = mlx_lm_awq.AWQ_MODEL_CONFIGS
    if config["model_type"] not in known:
        raise InvalidRequest(
            f"mlx-lm has AWQ for {', '.join(sorted(known))}, and not for {config['model_type']}: "
            "convert it with method='plain' or 'dwq'.",
            "method",
        )
    width = windows[0].size
    whole = mx.stack([window for window in windows if window.size == width])
    mlx_lm_awq.tqdm = _progress(channel, "quantising by AWQ", "layers")
    mlx_lm_awq.awq_quantize(
        model,
        whole,
        known[config["model_type"]],
        bits=spec.bits,
        group_size=spec.group_size,
        embed_bits=spec.bits,
        embed_group_size=spec.group_size,
    )
    return model, mlx_lm_awq.update_config(model, config)


def dwq(
    spec: ConvertSpec, model: Any, teacher: Any, windows: list[mx.array], channel: JobChannel
) -> None:
    """Train the scales and biases of a quantised model with a text.

    Parameters
    ----------
    model, teacher
        The quantised model and the original one.

    Raises
    ------
    InvalidRequest
        If the text is too short.
    """
    if len(windows) < 2:
        raise InvalidRequest(
            "DWQ learns from one part of the text and checks itself with another: give a longer "
            "text.",
            "text",
        )
    samples = [(window.tolist(), 0) for window in windows]
    held_out = max(1, len(samples) // 8)

    def targets(batch: mx.array, number: int, split: str) -> mx.array:
        channel.check()
        if split == "train":
            channel.progress("training by DWQ", number, len(samples) - held_out, "windows")
        return teacher(batch)

    mlx_lm_dwq.dwq_quantize(
        model,
        targets,
        optimizers.Adam(learning_rate=_LEARNING_RATE, bias_correction=True),
        samples[held_out:],
        samples[:held_out],
        batch_size=1,
        max_seq_length=max(window.size for window in windows),
        seed=_SEED,
        dtype=model_type(model),
    )
    model.eval()
    model.freeze()


def model_type(model: Any) -> mx.Dtype:
    """Return the type of a model's scales."""
    types: list[mx.Dtype] = []

    def look(_: str, module: Any) -> None:
        if "scales" in module and mx.issubdtype(module.scales.dtype, mx.floating):
            types.append(module.scales.dtype)

    model.apply_to_modules(look)
    return types[0]


def _progress(channel: JobChannel, phase: str, unit: str) -> Any:
    """Return a stand-in for `tqdm` that tells the job's progress."""

    class Told:
        """Iterates, and tells how far it is."""

        def __init__(self, values: Iterable[Any], **_: Any) -> None:
            self._values = list(values)

        def __iter__(self) -> Iterator[Any]:
            for number, value in enumerate(self._values):
                channel.check()
                channel.progress(phase, number, len(self._values), unit)
                yield value

        write: Callable[..., None] = staticmethod(lambda *_, **__: None)

    return Told
