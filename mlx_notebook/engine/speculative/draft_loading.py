"""Loads draft models and sets up prompt lookup; refuses settings that cannot work."""

import tempfile
from collections.abc import Generator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm.models.cache import can_trim_prompt_cache, make_prompt_cache
from mlx_lm.utils import load_model, load_tokenizer

from mlx_notebook.engine.errors import LoadFailed, reason
from mlx_notebook.engine.gguf.gguf_model import GgufModelFile
from mlx_notebook.engine.gguf.gguf_tokenizer import write_tokenizer
from mlx_notebook.engine.prompts.tokenizer_file import check_growth
from mlx_notebook.engine.speculative.drafts import DraftModel
from mlx_notebook.protocol import ModelOptions


def load_draft_model(
    name: str,
    options: ModelOptions,
    vocabulary: dict[str, int],
    *,
    width: int,
    trimmable: bool,
    prefill_step: int,
    workers: Executor,
) -> Generator[None, None, tuple[DraftModel | None, int]]:
    """Load the draft model of a model, in slices; refuse settings that cannot work.

    Parameters
    ----------
    vocabulary, width, trimmable
        The model's tokens, the number of its logits, and whether its KV caches can be cut.

    Returns
    -------
    The draft model and the bytes of its weights; None and 0 if the settings name none.

    Raises
    ------
    LoadFailed
        If the draft model cannot be loaded or has another vocabulary, or if the model's KV caches
        cannot be cut.
    """
    if not trimmable and (options.draft is not None or options.prompt_lookup):
        raise LoadFailed(
            f"{name} cannot be loaded with a draft model or prompt lookup: its KV caches cannot be "
            "cut back after a rejected draft. Remove that setting.",
            "model",
        )
    if options.draft is None:
        return None, 0
    model = yield from _load(name, Path(options.draft), options, vocabulary, workers)
    size = sum(array.nbytes for _, array in tree_flatten(model.parameters()))
    return DraftModel(model, width, prefill_step), size


def _load(
    name: str, path: Path, options: ModelOptions, vocabulary: dict[str, int], workers: Executor
) -> Generator[None, None, Any]:
    about = f"The draft model of {name} ({path.name})"
    try:
        tokens = workers.submit(_vocabulary, path)
        file = GgufModelFile(path) if path.is_file() else None
        if file is not None:
            model = file.build()
        else:
            model, _ = load_model(path, lazy=True, trust_remote_code=options.trust_remote_code)
        if mx.default_device() == mx.cpu:
            model.set_dtype(mx.float32)
        if file is not None:
            names = [name for name, _ in tree_flatten(model.parameters())]
            for _ in file.read(model, dict(zip(names, names, strict=True))):
                yield
        for _, array in tree_flatten(model.parameters()):
            mx.eval(array)
            yield
        while not tokens.done():
            yield
        theirs = tokens.result()
    except MemoryError:
        raise
    except Exception as error:
        raise LoadFailed(f"{about} cannot be loaded: {reason(error)}", "model") from error
    if not same_tokens(vocabulary, theirs):
        raise LoadFailed(
            f"{about} has another vocabulary: choose a smaller model of the same family.", "model"
        )
    if not can_trim_prompt_cache(make_prompt_cache(model)):
        raise LoadFailed(f"{about} cannot draft: its KV caches cannot be cut back.", "model")
    return model


def same_tokens(ours: dict[str, int], theirs: dict[str, int]) -> bool:
    """Return whether every id that both vocabularies have is the same token.

    Models of one family often differ in a few tokens at the end.
    """
    names = {number: token for token, number in ours.items()}
    shared = [(number, token) for token, number in theirs.items() if number in names]
    return bool(shared) and all(names[number] == token for number, token in shared)


def _vocabulary(path: Path) -> dict[str, int]:
    if path.is_file():
        file = GgufModelFile(path)
        with tempfile.TemporaryDirectory() as made:
            write_tokenizer(path, file.header, file.config, Path(made))
            return _vocabulary(Path(made))
    check_growth(path)
    return dict(load_tokenizer(path).get_vocab())
