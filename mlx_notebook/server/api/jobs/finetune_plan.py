"""Plans for fine-tuning and merging: which model, which folder, how much memory."""

import asyncio
import hashlib
import math
from pathlib import Path
from typing import Any

import msgspec

from mlx_notebook.model_files.machine_memory import full_precision
from mlx_notebook.model_files.model_folder import read_json
from mlx_notebook.model_files.safetensors_headers import weight_files
from mlx_notebook.model_files.training_memory import training_bytes
from mlx_notebook.protocol import FinetuneSpec, MergeSpec, TrainingExample
from mlx_notebook.server.api.http.base import ApiHandler
from mlx_notebook.server.api.jobs.free_names import require_free
from mlx_notebook.server.api.model_lookup import find_model
from mlx_notebook.server.api.user_rules import check_permission, may_evict
from mlx_notebook.server.errors import InvalidRequest, NotFound
from mlx_notebook.server.jobs.job_plan import JobPlan, JobResult
from mlx_notebook.server.model_errors import generation_not_supported, model_is_upstream
from mlx_notebook.server.models.catalog_entry import CatalogEntry
from mlx_notebook.server.services import Services
from mlx_notebook.server.wire.native.job_types import FinetuneRequest, MergeRequest

_EPOCHS = 3
_VALIDATIONS, _SAMPLES, _SAVES = 10, 5, 5
# Few tokenizers make a token of less text.
_CHARACTERS_PER_TOKEN = 2.5
_OTHER_DATA = (
    "It was made from other data or with other settings. Choose another name, or train with "
    "replace=True."
)


class _AdapterNote(msgspec.Struct):
    """Decode what we write beside an adapter: what it was made from, and with which result."""

    fingerprint: str = ""
    result: JobResult = {}


async def plan_finetuning(handler: ApiHandler, request: FinetuneRequest) -> JobPlan:
    """Check a request for fine-tuning, and plan it.

    Raises
    ------
    ApiError
        If the model cannot be trained, an example has no answer, or the name is taken.
    """
    services = handler.services
    entry = await _base_model(handler, request.model)
    for field in ("train", "held_out"):
        _check_examples(field, getattr(request, field))
    fingerprint = await asyncio.to_thread(_fingerprint, request, entry.path)
    folder = services.new_models / request.name
    name = f"{entry.name}+{request.name}"
    known = await asyncio.to_thread(_known, folder)
    done = None
    if known is not None and known.fingerprint == fingerprint and not request.replace:
        done = known.result
    elif not request.replace:
        await require_free(services, folder, name, _OTHER_DATA)
    config = await asyncio.to_thread(read_json, entry.path / "config.json", type=dict[str, Any])
    spec = _spec(request, entry, services.new_models, fingerprint)

    async def finished(result: JobResult) -> JobResult:
        await services.catalog.refresh()
        if name in services.supervisor.telemetry.resident:
            # It was in memory with the adapter that this one replaces.
            await services.engine.unload(name)
        return result

    return JobPlan(
        kind="finetune",
        title=f"fine-tuning of {entry.name} as {request.name}",
        model=entry.name,
        makes=str(folder),
        spec=spec,
        bytes=_bytes(services, entry, config, spec),
        evict=may_evict(handler, entry.name),
        finished=finished,
        result=done,
    )


async def plan_merge(handler: ApiHandler, request: MergeRequest) -> JobPlan:
    """Check a request to merge an adapter into its model, and plan it.

    Raises
    ------
    ApiError
        If the model has no adapter, or the name is taken.
    """
    services = handler.services
    entry = await find_model(handler, request.model)
    check_permission(handler, "jobs", entry.name)
    if entry.upstream is not None:
        raise model_is_upstream(entry.name, "Its adapter is not here")
    _refuse_gguf(entry)
    if entry.options.adapter is None:
        raise NotFound(
            f"The model {entry.name!r} has no adapter to merge. Name it as model+adapter.",
            param="model",
            code="adapter_not_found",
        )
    folder = services.new_models / request.name
    await require_free(services, folder, request.name)
    precise = full_precision(services.supervisor.status.device)
    footprint = entry.footprint(full_precision=precise)

    async def finished(result: JobResult) -> JobResult:
        await services.catalog.refresh()
        return result

    return JobPlan(
        kind="merge",
        title=f"merge of {entry.name} as {request.name}",
        model=entry.name,
        makes=str(folder),
        spec=MergeSpec(
            model=entry.name,
            path=str(entry.path),
            adapter=entry.options.adapter,
            name=request.name,
            folder=str(folder),
            dequantize=request.dequantize,
            trust_remote_code=entry.options.trust_remote_code,
        ),
        bytes=2 * footprint.weights,
        evict=may_evict(handler, entry.name),
        finished=finished,
    )


async def _base_model(handler: ApiHandler, name: str) -> CatalogEntry:
    services = handler.services
    entry = await find_model(handler, name)
    check_permission(handler, "jobs", entry.name)
    if entry.upstream is not None:
        raise model_is_upstream(entry.name, "It cannot be trained here")
    _refuse_gguf(entry)
    if "+" in entry.name or entry.options.adapter is not None:
        raise InvalidRequest(
            f"The model {entry.name!r} has an adapter already. Train on the model itself, or merge "
            "the adapter into a model of its own first.",
            param="model",
        )
    if not (entry.is_text_model or entry.takes_images):
        names = [one.name for one in await services.catalog.entries() if one.generates_text]
        raise generation_not_supported(entry.name, names, entry.own_route)
    if entry.takes_images:
        raise InvalidRequest(
            f"The model {entry.name!r} takes images, and only text models can be fine-tuned here.",
            param="model",
        )
    return entry


def _refuse_gguf(entry: CatalogEntry) -> None:
    """Refuse a model in a GGUF file.

    Raises
    ------
    InvalidRequest
        If it is one.
    """
    if entry.path.is_file():
        raise InvalidRequest(
            f"The model {entry.name!r} is a GGUF file. Convert it first: %mlx convert, or a job of "
            "the kind 'convert'.",
            param="model",
        )


def _check_examples(field: str, examples: list[TrainingExample]) -> None:
    """Check that each example ends with an answer.

    Raises
    ------
    InvalidRequest
        If one does not.
    """
    for number, example in enumerate(examples):
        last = example.messages[-1] if example.messages else {}
        if last.get("role") != "assistant":
            raise InvalidRequest(
                f"Example {number} of '{field}' does not end with a message of the assistant, "
                "which is the answer to learn.",
                param=f"{field}[{number}].messages",
                code="invalid_value",
            )


def _fingerprint(request: FinetuneRequest, path: Path) -> str:
    """Return a text that changes with the data, the settings, and the files of the model."""
    made_from = msgspec.structs.replace(request, replace=False, name="")
    files = [(file.name, file.stat().st_size) for file in weight_files(path)]
    digest = hashlib.sha256(msgspec.json.encode(made_from, order="sorted"))
    digest.update(repr(files).encode())
    digest.update((path / "config.json").read_bytes())
    return digest.hexdigest()[:32]


def _known(folder: Path) -> _AdapterNote | None:
    """Return what is noted beside an adapter; None if there is none."""
    try:
        note: _AdapterNote = read_json(folder / "training.json", type=_AdapterNote)
    except (OSError, ValueError):
        return None
    return note


def _spec(
    request: FinetuneRequest, entry: CatalogEntry, place: Path, fingerprint: str
) -> FinetuneSpec:
    batch = min(request.batch_size, len(request.train))
    steps = request.steps or _EPOCHS * math.ceil(len(request.train) / batch)
    context = entry.context_window or request.max_tokens
    return FinetuneSpec(
        model=entry.name,
        path=str(entry.path),
        name=request.name,
        folder=str(place / request.name),
        work=str(place / ".unfinished" / request.name),
        fingerprint=fingerprint,
        method=request.method,
        train=request.train,
        held_out=request.held_out,
        prompts=request.prompts,
        steps=steps,
        batch_size=batch,
        learning_rate=request.learning_rate,
        seed=request.seed,
        rank=request.rank,
        scale=request.scale,
        dropout=request.dropout,
        layers=request.layers,
        max_tokens=min(request.max_tokens, context),
        validate_every=request.validate_every or max(1, steps // _VALIDATIONS),
        sample_every=request.sample_every or max(1, steps // _SAMPLES),
        save_every=request.save_every or max(1, steps // _SAVES),
        grad_checkpoint=request.grad_checkpoint,
        tool_dialect=entry.options.tool_dialect,
        trust_remote_code=entry.options.trust_remote_code,
    )


def _bytes(
    services: Services, entry: CatalogEntry, config: dict[str, Any], spec: FinetuneSpec
) -> int:
    precise = full_precision(services.supervisor.status.device)
    longest = max(len(msgspec.json.encode(example)) for example in spec.train)
    tokens = min(spec.max_tokens, int(longest / _CHARACTERS_PER_TOKEN) + 32)
    return training_bytes(
        config,
        weights=entry.footprint(full_precision=precise).base,
        tokens=spec.batch_size * tokens,
        rank=spec.rank,
        layers=spec.layers,
        full_precision=precise,
    )
