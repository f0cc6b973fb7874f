"""The steps of a model load that all backends share.

A load is a generator. It yields between slices of work, so that other models go on decoding.
"""

import logging
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm.utils import load_tokenizer

from mlx_notebook.engine.backends.backend import GeneratingBackend, LoadStep
from mlx_notebook.engine.errors import (
    ContextOverflow,
    EngineError,
    InvalidRequest,
    LimitExceeded,
    LoadFailed,
    reason,
)
from mlx_notebook.engine.kv_cache.model_identity import identify
from mlx_notebook.engine.kv_cache.prefix_cache import PrefixCache
from mlx_notebook.engine.prompts.chat_template import apply_template
from mlx_notebook.engine.prompts.prompt import PreparedPrompt
from mlx_notebook.engine.prompts.tokenizer_file import check_growth
from mlx_notebook.engine.runtime.device_memory import versions
from mlx_notebook.engine.runtime.gated_delta import replace_token_loops
from mlx_notebook.engine.sampling.row import Row
from mlx_notebook.protocol import ModelOptions

log = logging.getLogger(__name__)

_SLICE_BYTES = 256 * 2**20
_TEMPLATE_CHARACTERS = 2**18
_TOKENIZER_FILES = ("tokenizer.*", "vocab.*", "tekken.json", "*.tiktoken", "*.model", "*.py")


@contextmanager
def loading(name: str) -> Iterator[None]:
    """Log the duration of a load, and turn errors of the libraries into `LoadFailed`."""
    began = time.perf_counter()
    try:
        yield
    except (MemoryError, EngineError):
        raise
    except Exception as error:
        if not isinstance(error, OSError | ValueError):  # these name what is wrong with a file
            log.exception("loading %s failed", name)
        raise LoadFailed(f"{name} cannot be loaded: {reason(error)}", "model") from error
    log.info("loaded %s in %.2f s", name, time.perf_counter() - began)


def adapt_to_device(model: Any) -> None:
    """Prepare a model for what this device computes fast.

    On a CPU it is converted to fp32: there, only fp32 products go through BLAS (measured: prompts
    are computed 4 times faster). Without Metal, layers that go token by token do not.
    """
    replace_token_loops()
    if mx.default_device() == mx.cpu:
        model.set_dtype(mx.float32)


def read_parts(
    model: Any,
    *pending: Future[Any],
    read: Callable[[Any], Generator[int, None, int]] | None = None,
) -> Generator[LoadStep, None, tuple[int, list[Any]]]:
    """Read a model's weights from disk in slices, and wait for the parts that workers make.

    `read` reads the weights, in place of `read_weights`.

    Yields
    ------
    The bytes of weights in memory. The first time it is 0: the files fit the architecture, and no
    weights are read yet.

    Returns
    -------
    done, parts
        The bytes of weights, and the results of `pending`.
    """
    yield 0
    done = yield from (read or read_weights)(model)
    parts = []
    for future in pending:
        parts.append((yield from wait(future, done)))
    return done, parts


def read_weights(model: Any) -> Generator[int, None, int]:
    """Read a model's weights from disk in slices; yield and return the bytes in memory."""
    slice_: list[mx.array] = []
    size = done = 0
    for _, array in tree_flatten(model.parameters()):
        slice_.append(array)
        size += array.nbytes
        if size >= _SLICE_BYTES:
            mx.eval(slice_)
            done += size
            slice_, size = [], 0
            yield done
    mx.eval(slice_)
    return done + size


def wait(pending: Future[Any], done: LoadStep = None) -> Generator[LoadStep, None, Any]:
    """Return what a worker makes; yield `done` until it is there."""
    while not pending.done():
        time.sleep(0.002)
        yield done
    return pending.result()


def warm_up(backend: GeneratingBackend, prefixes: PrefixCache) -> Generator[None, None, None]:
    """Run what the first requests would have to compile: alone and batched, greedy and sampled."""
    first = [3, 4, 5, 6, 7, 8, 9, 10]
    sampled = Row(temperature=0.7, top_p=0.9, top_k=5, repetition_penalty=1.1)
    for rows in ([Row()], [Row(), sampled], [sampled]):
        for i, row in enumerate(rows):
            tokens = [token + i for token in first[: 8 - i]]
            backend.insert(row, PreparedPrompt(tokens, ""), 3, endless=True)
        while len(backend):
            backend.step()
            yield
    prefixes.forget(backend.name)
    mx.clear_cache()


def model_identity(path: Path, options: ModelOptions, *also: str) -> str:
    """Return the name under which a model's prefix cache is kept on disk.

    It changes with the model's files, its adapter, its options, the libraries and `also`.
    """
    folders = [path, Path(options.adapter)] if options.adapter else [path]
    return identify(folders, *versions(), str(options.kv_bits), *also)


def require_tokenizer(path: Path) -> None:
    """Check that a model's folder has a tokenizer.

    Raises
    ------
    FileNotFoundError
        If it has none.
    """
    if not any(next(path.glob(kind), None) for kind in _TOKENIZER_FILES):
        raise FileNotFoundError("there is no tokenizer in its folder.")


def open_tokenizer(
    path: Path,
    config: dict[str, Any],
    extra: dict[str, Any] | None = None,
    *,
    name: str | None = None,
) -> Any:
    """Load a model's tokenizer.

    `extra` overrides settings of the tokenizer. Messages call the model `name`, or as its folder.

    Raises
    ------
    LoadFailed
        If its chat template is too large, or takes too much time or memory for a greeting.
    ValueError
        If it turns short texts into long ones.
    """
    check_growth(path)
    name = name or path.name
    tokenizer = load_tokenizer(path, extra, eos_token_ids=config.get("eos_token_id"))
    if tokenizer.has_chat_template:
        if len(str(tokenizer.chat_template)) > _TEMPLATE_CHARACTERS:
            raise LoadFailed(
                f"{name} cannot be loaded: its chat template has more than "
                f"{_TEMPLATE_CHARACTERS} characters.",
                "model",
            )
        greeting = [{"role": "user", "content": "Hello"}]
        try:
            apply_template(tokenizer, greeting, [], {}, True)
        except (LimitExceeded, ContextOverflow) as error:
            raise LoadFailed(
                f"{name} cannot be loaded, tried with a greeting: {error.message}", "model"
            ) from error
        except InvalidRequest as error:
            log.info("%s: %s", name, error)
    return tokenizer
