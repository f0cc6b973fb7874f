"""Stores KV caches of prompts on disk, in blocks of `BLOCK` tokens.

Each block is one file (`block_file`), named after the model and all tokens up to the block's end
(`block_names`). So prompts with the same beginning share files, and a conversation that grows adds
only new blocks. The least recently used blocks are removed first, and the end of a prompt before
its beginning.

A checkpoint is what a block cannot hold: arrays that are valid for one length only. It is a file
like a block, with the tokens after the last whole block.

This module does not know MLX. Arrays are numpy's, by name, with tokens along the last but one axis.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np

from mlx_notebook.engine.kv_cache.disk.block_file import (
    Arrays,
    DamagedBlock,
    block_bytes,
    read_block,
    write_block,
)
from mlx_notebook.engine.kv_cache.disk.block_names import BLOCK, STATE, block_names, checkpoint_name

log = logging.getLogger(__name__)

_SUFFIX = ".kv"
_FORMER_SUFFIX = ".safetensors"  # of the first format
_STALE_NANOSECONDS = 3600 * 10**9
# Pruning goes somewhat below the limit, so that not every new block has to prune again.
_PRUNED_SHARE = 0.9


class DiskStore:
    """A folder of blocks. Any thread may read it; one thread writes.

    Several engines may share a folder. A file that another engine has removed is a miss.

    Parameters
    ----------
    folder
        Created with the first block, readable by this user only.
    max_bytes
        The size of all blocks together.
    """

    def __init__(self, folder: Path, max_bytes: int):
        self._folder, self._max_bytes = folder, max_bytes
        self._used: int | None = None
        self._lock = threading.Lock()
        self._warned = False

    def find(self, identity: str, tokens: list[int], salt: str = "") -> int:
        """Return how many of the first tokens are stored, in whole blocks."""
        found = 0
        for file, end in self._blocks(identity, tokens, salt):
            if not os.path.isfile(file):  # False, too, if the folder cannot be read
                break
            found = end
        return found

    def find_checkpoint(self, identity: str, tokens: list[int], salt: str = "") -> int:
        """Return the length of the longest checkpoint of a prefix of `tokens`; 0 if none is."""
        blocks = list(self._blocks(identity, tokens, salt))
        found = self.find(identity, tokens, salt)
        for length in range(min(found + BLOCK - 1, len(tokens)), BLOCK - 1, -1):
            if os.path.isfile(self._checkpoint(blocks, tokens, length)):
                return length
        return 0

    def read_checkpoint(
        self, identity: str, tokens: list[int], salt: str = ""
    ) -> tuple[int, Arrays]:
        """Read the longest checkpoint of a prefix of `tokens`, and the blocks before it.

        Returns
        -------
        count, arrays
            As from `read`, with the arrays of the checkpoint.
        """
        length = self.find_checkpoint(identity, tokens, salt)
        if not length:
            return 0, {}
        tokens = tokens[:length]
        count, arrays = self.read(identity, tokens, salt)
        file = self._checkpoint(list(self._blocks(identity, tokens, salt)), tokens, length)
        held = _read(file)
        if held is None or count != length // BLOCK * BLOCK:
            return 0, {}
        _touch([file])
        rest = {name: array for name, array in held.items() if not name.startswith(STATE)}
        if rest and rest.keys() != arrays.keys():
            return 0, {}
        joined = {n: np.concatenate([arrays[n], array], axis=-2) for n, array in rest.items()}
        return length, {**arrays, **held, **joined}

    def read(self, identity: str, tokens: list[int], salt: str = "") -> tuple[int, Arrays]:
        """Read the longest stored prefix of `tokens`.

        A damaged block ends the prefix. It is removed, and logged; it is not an error.

        Returns
        -------
        count, arrays
            How many tokens the arrays hold. There are no arrays if `count` is 0.
        """
        count, blocks, files = 0, list[Arrays](), list[Path]()
        for file, end in self._blocks(identity, tokens, salt):
            block = _read(file)
            if block is None or (blocks and block.keys() != blocks[0].keys()):
                break
            blocks.append(block)
            files.append(file)
            count = end
        _touch(files)
        if not blocks:
            return 0, {}
        names = blocks[0]
        return count, {n: np.concatenate([b[n] for b in blocks], axis=-2) for n in names}

    def write(
        self,
        identity: str,
        tokens: list[int],
        arrays: Arrays,
        salt: str = "",
        allows: Callable[[int], bool] = lambda _: True,
        checkpoints: Mapping[int, Arrays] = MappingProxyType({}),
    ) -> int:
        """Write the blocks of a sequence that are not stored yet, from its beginning on.

        A full or unwritable disk is logged; it is not an error.

        Parameters
        ----------
        arrays
            Of these tokens or more.
        allows
            Called before each block with its size; if it returns False, writing ends.
        checkpoints
            Arrays that are valid for one length only, by that length. Those of the tokens given are
            written after the blocks, the longest first.

        Returns
        -------
        The bytes written.
        """
        written, files = 0, list[Path]()
        try:
            for file, held in self._pieces(identity, tokens, arrays, salt, checkpoints):
                if not os.path.isfile(file):
                    if not allows(block_bytes(file.stem, held)):
                        break
                    self._make_folder(file.parent)
                    written += write_block(file, file.stem, held)
                    if written > self._max_bytes:
                        break
                files.append(file)
        except OSError as error:
            if not self._warned:
                log.warning("the prefix cache is not stored in %s: %s", self._folder, error)
            self._warned = True
        _touch(files)
        with self._lock:
            if self._used is not None:
                self._used += written
            if written and (self._used is None or self._used > self._max_bytes):
                self._prune()
        return written

    def _pieces(
        self,
        identity: str,
        tokens: list[int],
        arrays: Arrays,
        salt: str,
        checkpoints: Mapping[int, Arrays],
    ) -> Iterator[tuple[Path, Arrays]]:
        """Yield the files of a sequence, each with what belongs in it."""
        blocks = list(self._blocks(identity, tokens, salt))
        for file, end in blocks:
            yield file, _tokens_of(arrays, end - BLOCK, end)
        for length in sorted(checkpoints, reverse=True):
            if BLOCK <= length <= len(tokens):
                rest = _tokens_of(arrays, length - length % BLOCK, length)
                held = {**checkpoints[length], **(rest if length % BLOCK else {})}
                yield self._checkpoint(blocks, tokens, length), held

    def _checkpoint(self, blocks: list[tuple[Path, int]], tokens: list[int], length: int) -> Path:
        """Return the file of a checkpoint of the first `length` tokens."""
        block, end = blocks[length // BLOCK - 1]
        name = checkpoint_name(block.stem, tokens[end:length])
        return block.with_name(f"{name}{_SUFFIX}")

    def _blocks(self, identity: str, tokens: list[int], salt: str) -> Iterator[tuple[Path, int]]:
        """Yield the files of a sequence's whole blocks, each with the number of tokens so far."""
        folder = self._folder / identity
        for index, name in enumerate(block_names(identity, tokens, salt)):
            yield folder / f"{name}{_SUFFIX}", (index + 1) * BLOCK

    def _make_folder(self, folder: Path) -> None:
        if folder.is_dir():
            return
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # It may exist already, or the umask may be unusual. Prompts are private.
        self._folder.chmod(0o700)
        folder.mkdir(mode=0o700, exist_ok=True)

    def _prune(self) -> None:
        """Measure the folder; remove what is of no use, and the oldest blocks above the limit."""
        kept: list[tuple[int, int, Path]] = []
        stale = time.time_ns() - _STALE_NANOSECONDS
        for file in self._folder.glob("*/.*.tmp"):
            if _state(file)[0] < stale:
                file.unlink(missing_ok=True)
        for file in self._folder.glob(f"*/*{_FORMER_SUFFIX}"):
            file.unlink(missing_ok=True)
        for file in self._folder.glob(f"*/*{_SUFFIX}"):
            kept.append((*_state(file), file))
        self._used = sum(size for _, size, _ in kept)
        if self._used <= self._max_bytes:
            return
        for _, size, file in sorted(kept):
            if self._used <= self._max_bytes * _PRUNED_SHARE:
                break
            file.unlink(missing_ok=True)
            self._used -= size


def _tokens_of(arrays: Arrays, start: int, end: int) -> Arrays:
    return {name: array[..., start:end, :] for name, array in arrays.items()}


def _read(file: Path) -> Arrays | None:
    try:
        return read_block(file, file.stem)
    except OSError:
        return None
    except DamagedBlock as error:
        log.warning("a damaged block of the prefix cache was removed: %s: %s", file.name, error)
        file.unlink(missing_ok=True)
        return None


def _touch(files: list[Path]) -> None:
    """Mark the blocks of one sequence as used now, the first one as the most recent."""
    now = time.time_ns()
    for index, file in enumerate(files):
        try:
            os.utime(file, ns=(now - index * 1000, now - index * 1000))
        except OSError as error:
            log.debug("%s is gone: %s", file.name, error)


def _state(file: Path) -> tuple[int, int]:
    """Return when a file was last used and its size; zeros if it does not exist."""
    try:
        state = file.stat()
    except OSError:
        return 0, 0
    return state.st_mtime_ns, state.st_size
