"""Chooses the backend of a model from its files, after checking that they contain no code."""

import importlib
import json
from collections.abc import Generator, Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from mlx_notebook.engine.backends import text
from mlx_notebook.engine.backends.backend import Backend, LoadStep
from mlx_notebook.engine.backends.model_loader import wait
from mlx_notebook.engine.distributed.leader import Leader
from mlx_notebook.engine.errors import LoadFailed, reason
from mlx_notebook.engine.kv_cache.prefix_cache import PrefixCache
from mlx_notebook.engine.reranking.yes_no import open_yes_no
from mlx_notebook.model_files import architectures
from mlx_notebook.model_files.audio_files import is_speaker, is_transcriber
from mlx_notebook.model_files.embedding_files import is_embedding_model
from mlx_notebook.model_files.model_folder import check
from mlx_notebook.model_files.reranker_files import (
    is_cross_encoder,
    is_qwen_reranker,
    reranker_kind,
)
from mlx_notebook.model_files.safetensors_headers import read_arrays
from mlx_notebook.protocol import EngineConfig, ModelOptions

_CODE = ("model_file", "auto_map")
"""Keys of a configuration that name Python files of the model's folder to run."""

_TEXT_ONLY = ("adapter", "draft", "kv_bits", "prompt_lookup", "reranker")
"""Options that only text models support."""


def load(
    name: str,
    path: Path,
    options: ModelOptions,
    settings: EngineConfig,
    prefixes: PrefixCache,
    workers: Executor,
    *,
    base_from: Backend | None = None,
    leader: Leader | None = None,
) -> Generator[LoadStep, None, Backend]:
    """Load a model in slices, so that other models go on decoding between them.

    Parameters
    ----------
    settings
        The engine's settings.
    prefixes
        The prefix cache that all models share.
    workers
        Load tokenizers and other parts that do not need MLX's thread.
    base_from
        A resident text model of the same folder. Its base weights are shared instead of read again.
    leader
        Tells the other ranks; None if there is one rank.

    Yields
    ------
    The bytes of weights in memory; None until the files are known to fit the architecture.

    Raises
    ------
    LoadFailed
        If something is wrong with the model's files; the message says what.
    """
    base = base_from if isinstance(base_from, text.TextBackend) else None
    arguments = name, path, options, settings, prefixes, workers
    if path.is_file():
        _refuse_ranks(name, "GGUF files", leader)
        return _with_reranker((yield from text.load(*arguments, base_from=base)), path, {}, options)
    if not (path / "config.json").is_file():
        raise LoadFailed(
            f"{name} cannot be loaded: there is no config.json in its folder.", "model"
        )
    check_folder(name, path)
    if not options.trust_remote_code:
        refuse_code(name, path)
    config = _read(name, path / "config.json")
    for kind, module, fits in (
        ("a model of sound", "audio.transcription", _is_transcriber),
        ("a model of sound", "audio.speech", _is_speaker),
        ("an embedding model", "encoders.embedding", is_embedding_model),
        ("a cross-encoder", "encoders.cross_encoder", _is_cross_encoder),
    ):
        if isinstance(config, dict) and fits(name, path, config):
            _refuse_settings(name, kind, options)
            if module.startswith("audio."):
                _refuse_ranks(name, "models of sound", leader)
            imported = yield from _imported(module, workers)
            special: Backend = yield from imported.load(name, path, options, workers)
            return special
    if isinstance(config, dict) and architectures.is_vision_model(config, _weights(name, path)):
        _refuse_settings(name, "a vision model", options)
        _refuse_ranks(name, "vision models", leader)
        vision = yield from _imported("vision.vision", workers)
        backend: Backend = yield from vision.load(name, path, options, settings, prefixes, workers)
        return backend
    loaded = yield from text.load(*arguments, base_from=base, leader=leader)
    return loaded if leader is not None else _with_reranker(loaded, path, config, options)


def _is_transcriber(name: str, path: Path, config: dict[str, Any]) -> bool:
    return is_transcriber(config)


def _is_speaker(name: str, path: Path, config: dict[str, Any]) -> bool:
    return is_speaker(config)


def _is_cross_encoder(name: str, path: Path, config: dict[str, Any]) -> bool:
    return is_cross_encoder(config)


def _with_reranker(
    backend: text.TextBackend, path: Path, config: dict[str, Any], options: ModelOptions
) -> text.TextBackend:
    """Let a language model rank documents, if its files, its name or its settings say so.

    Raises
    ------
    LoadFailed
        If it cannot; the message says why.
    """
    qwen = options.reranker or is_qwen_reranker(backend.name, config)
    if qwen or reranker_kind(backend.name, path, config) == "yes-no":
        try:
            backend.reranker = open_yes_no(
                *(backend.model, backend.tokenizer, path, backend.length_limit), qwen=qwen
            )
        except (ValueError, OSError) as error:
            backend.close()
            raise LoadFailed(
                f"{backend.name} cannot be loaded: {reason(error)}", "model"
            ) from error
    return backend


def check_folder(name: str, path: Path) -> None:
    """Refuse a folder with files that no library should open.

    Raises
    ------
    LoadFailed
        If there is one.
    """
    try:
        check(path)
    except (ValueError, OSError) as error:
        raise LoadFailed(f"{name} cannot be loaded: {reason(error)}.", "model") from error


def _imported(backend: str, workers: Executor) -> Generator[LoadStep, None, Any]:
    """Import a backend that needs mlx-vlm or mlx-audio on a worker: it takes two seconds."""
    module = f"mlx_notebook.engine.backends.{backend}"
    return (yield from wait(workers.submit(importlib.import_module, module)))


def _refuse_settings(name: str, kind: str, options: ModelOptions) -> None:
    for setting in _TEXT_ONLY:
        if getattr(options, setting):
            raise LoadFailed(
                f"{name} cannot be loaded: it is {kind}, and {setting} is for text models.", "model"
            )


def _refuse_ranks(name: str, kind: str, leader: Leader | None) -> None:
    if leader is not None:
        raise LoadFailed(
            f"{name} cannot be loaded: {kind} run on one rank only. Start the server without ranks "
            "or a hostfile for them.",
            "model",
        )


def refuse_code(name: str, path: Path) -> None:
    """Refuse a folder whose configuration names code to run, before a library could run it.

    Raises
    ------
    LoadFailed
        If a file names code. The message names the file, the key and the setting that allows it.
    """
    for file in sorted(path.glob("*.json")):
        if file.name in ("tokenizer.json", "vocab.json") or file.name.endswith(".index.json"):
            continue
        try:
            keys = set(_keys(json.loads(file.read_text(encoding="utf-8"))))
        except (ValueError, OSError):
            continue  # an unreadable file names no code; config.json is read again below
        except RecursionError:
            raise LoadFailed(
                f"{name} cannot be loaded: {file.name} is nested too deeply.", "model"
            ) from None
        for key in _CODE:
            if key in keys:
                raise LoadFailed(
                    f"{name} is not loaded: {file.name} asks to run Python code from the model's "
                    f"folder ({key}). Set trust_remote_code for this model if you trust it.",
                    "model",
                )


def _weights(name: str, path: Path) -> Iterator[str]:
    """Yield the names of a model's weights, from the headers of its files."""
    try:
        yield from (array.name for array in read_arrays(sorted(path.glob("*.safetensors"))))
    except (ValueError, OSError) as error:
        raise LoadFailed(f"{name} cannot be loaded: {reason(error)}.", "model") from error


def _keys(value: Any) -> Iterator[str]:
    """Yield every key of a JSON value, at any depth, that holds a text, a list or an object."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if inner and isinstance(inner, str | dict | list):
                yield key
            yield from _keys(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _keys(inner)


def _read(name: str, file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise LoadFailed(
            f"{name} cannot be loaded: {file.name} is not readable JSON ({error}).", "model"
        ) from error
