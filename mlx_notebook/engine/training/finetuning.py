"""Train an adapter with mlx-lm's trainer, from the data to the folder that the catalog finds."""

import json
import shutil
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.optimizers import Adam
from mlx_lm.tuner.utils import build_schedule, linear_to_lora_layers

from mlx_notebook.engine.errors import InvalidRequest
from mlx_notebook.engine.jobs.job_channel import JobChannel
from mlx_notebook.engine.prompts.chat_format import ChatFormat
from mlx_notebook.engine.training import training_checkpoint as checkpoint
from mlx_notebook.engine.training.base_model import open_base, place
from mlx_notebook.engine.training.training_data import ExampleTokenizer, tokenize_examples
from mlx_notebook.engine.training.training_run import TrainingRun
from mlx_notebook.protocol import FinetuneSpec

_WARM_UP_SHARE = 10
_TOLD_EVERY = 25


def finetune(spec: FinetuneSpec, channel: JobChannel) -> dict[str, Any]:
    """Train an adapter, and move it to its folder. Go on from a checkpoint of the same training.

    Returns
    -------
    Its name, and the figures of the training.

    Raises
    ------
    EngineError
        If the model cannot be loaded or trained, or the examples cannot be learned.
    StopWanted
        If the job is to stop. The checkpoint is kept unless it must not be.
    """
    work = Path(spec.work)
    channel.progress("loading the model")
    mx.random.seed(spec.seed)
    bits = spec.bits if spec.method == "qlora" else None
    model, tokenizer, config = open_base(
        spec.model, Path(spec.path), trust_remote_code=spec.trust_remote_code, bits=bits
    )
    add_adapter(model, spec)
    place(model)
    width = int(model(mx.array([[0]])).shape[-1])
    family = str(config.get("model_type", ""))
    examples = ExampleTokenizer(tokenizer, ChatFormat(tokenizer, width, family, spec.tool_dialect))

    def check(number: int) -> None:
        channel.check()
        if number % _TOLD_EVERY == 0:
            channel.progress("reading the examples", number, len(spec.train), "examples")

    options: dict[str, Any] = {"note": channel.note, "check": check}
    train = tokenize_examples(examples, spec.train, spec.max_tokens, field="train", **options)
    held_out = tokenize_examples(
        examples, spec.held_out, spec.max_tokens, field="held_out", **options
    )
    run = TrainingRun(spec, channel, model, _optimizer(spec), tokenizer, train, held_out)
    run.prompts = [(example, examples.prompt(example)) for example in spec.prompts]
    if (known := checkpoint.find(work, spec.fingerprint)) is not None:
        run.go_on(known)
    result = run.train()
    _write(spec, model, work, result)
    return result


def add_adapter(model: Any, spec: FinetuneSpec) -> None:
    """Add an untrained adapter to a model, and freeze everything else.

    Raises
    ------
    InvalidRequest
        If mlx-lm cannot add one to this model.
    """
    model.freeze()
    try:
        linear_to_lora_layers(
            model, spec.layers, _adapter_parameters(spec), use_dora=spec.method == "dora"
        )
    except ValueError as error:
        raise InvalidRequest(
            f"{spec.model} cannot be trained with the method {spec.method}: {error}.", "method"
        ) from error


def _adapter_parameters(spec: FinetuneSpec) -> dict[str, Any]:
    return {"rank": spec.rank, "scale": spec.scale, "dropout": spec.dropout}


def _optimizer(spec: FinetuneSpec) -> Adam:
    """Return Adam with a rate that rises for a tenth of the steps and then falls to a tenth."""
    rate = spec.learning_rate
    schedule = {
        "name": "cosine_decay",
        "arguments": [rate, spec.steps, rate / 10],
        "warmup": spec.steps // _WARM_UP_SHARE,
        "warmup_init": rate / 10,
    }
    return Adam(learning_rate=build_schedule(schedule))


def _write(spec: FinetuneSpec, model: Any, work: Path, result: dict[str, Any]) -> None:
    """Write the adapter as mlx-lm does, and move its folder to its place."""
    new, folder = work / "adapter", Path(spec.folder)
    shutil.rmtree(new, ignore_errors=True)
    saved = checkpoint.write_adapter(new, model)
    config = {
        "model": spec.model,
        "fine_tune_type": "dora" if spec.method == "dora" else "lora",
        "num_layers": spec.layers,
        "lora_parameters": _adapter_parameters(spec),
        "mask_prompt": True,
        "iters": spec.steps,
        "batch_size": spec.batch_size,
        "learning_rate": spec.learning_rate,
        "seed": spec.seed,
    }
    (saved / "adapter_config.json").write_text(json.dumps(config, indent=4), encoding="utf-8")
    note = {"fingerprint": spec.fingerprint, "result": result}
    (saved / "training.json").write_text(json.dumps(note, indent=4), encoding="utf-8")
    old = work / "replaced"
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
    saved.rename(folder)
    shutil.rmtree(work)
