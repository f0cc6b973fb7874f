"""Computed prompts on disk, where they outlive the engine.

A prompt is kept in blocks of `BLOCK` tokens, one safetensors file each. A block's name is a hash
of the model's identity, the salt and all tokens up to its end, so prompts that begin alike share
their files, and a conversation that grows adds only what is new. Files appear by renaming, carry
their tokens and a checksum, and are readable by their user only. Those unused for longest go first,
the end of a prompt before its beginning.

Nothing here knows MLX: arrays are numpy's, by name, with the tokens along the last axis but one.
"""

import hashlib
import logging
import os
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

log = logging.getLogger(__name__)

BLOCK = 128
Arrays = dict[str, npt.NDArray[np.generic]]

_SUFFIX = ".safetensors"
_FORMAT = "mlx-notebook prefix 1"
_STALE_NANOSECONDS = 3600 * 10**9
_KEPT_FREE = 2**30
# Pruned to somewhat below the limit, so that not every block that comes has to look again.
_PRUNED_SHARE = 0.9


class PrefixStore:
    """A folder of blocks. Any thread may read; one writes.

    Several engines may share a folder: a file that another one removed is a miss.

    Parameters
    ----------
    folder
        Made when the first block is written, for this user alone.
    max_bytes
        Most that all blocks may take.
    """

    def __init__(self, folder: Path, max_bytes: int):
        self._folder, self._max_bytes = folder, max_bytes
        self._used: int | None = None
        self._lock = threading.Lock()
        self._complained = False

    def find(self, identity: str, tokens: list[int], salt: str = "") -> int:
        """How many of the first tokens are here, by whole blocks."""
        found = 0
        for file, end in self._blocks(identity, tokens, salt):
            if not os.path.isfile(file):  # False, too, where the folder may not be read
                break
            found = end
        return found

    def read(self, identity: str, tokens: list[int], salt: str = "") -> tuple[int, Arrays]:
        """Read the longest prefix of `tokens` that is whole.

        A block that is damaged is removed and ends the prefix; that is logged, and no error.

        Returns
        -------
        count, arrays
            How many tokens the arrays hold; none if `count` is 0.
        """
        count, blocks, files = 0, list[Arrays](), list[Path]()
        for file, end in self._blocks(identity, tokens, salt):
            block = _read(file, tokens[end - BLOCK : end])
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

    def write(self, identity: str, tokens: list[int], arrays: Arrays, salt: str = "") -> int:
        """Write those blocks of a sequence that are not here yet, its beginning first.

        Returns
        -------
        The bytes written. A full or unwritable disk is logged, and no error.
        """
        written, files = 0, list[Path]()
        try:
            for file, end in self._blocks(identity, tokens, salt):
                if not os.path.isfile(file):
                    written += self._write(file, tokens[end - BLOCK : end], end, arrays)
                    if written > self._max_bytes:
                        break
                files.append(file)
        except OSError as error:
            if not self._complained:
                log.warning("prompts are not kept in %s: %s", self._folder, error)
            self._complained = True
        _touch(files)
        with self._lock:
            if self._used is not None:
                self._used += written
            if written and (self._used is None or self._used > self._max_bytes):
                self._prune()
        return written

    def _blocks(self, identity: str, tokens: list[int], salt: str) -> Iterator[tuple[Path, int]]:
        """The files of a sequence's whole blocks, each with the number of tokens at its end."""
        folder = self._folder / identity
        name = f"{identity}{salt}"
        for end in range(BLOCK, len(tokens) + 1, BLOCK):
            text = f"{name}{tokens[end - BLOCK : end]}"
            name = hashlib.blake2b(text.encode(), digest_size=20).hexdigest()
            yield folder / f"{name}{_SUFFIX}", end

    def _write(self, file: Path, tokens: list[int], end: int, arrays: Arrays) -> int:
        block = {
            name: np.ascontiguousarray(array[..., end - BLOCK : end, :])
            for name, array in arrays.items()
        }
        metadata = {"format": _FORMAT, "tokens": repr(tokens), "sum": _checksum(tokens, block)}
        data = save(block, metadata)
        self._make_folder(file.parent)
        if shutil.disk_usage(file.parent).free < len(data) + _KEPT_FREE:
            raise OSError("the disk is nearly full")
        draft = file.with_name(f".{secrets.token_hex(8)}.tmp")
        try:
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as f:
                f.write(data)
            draft.replace(file)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        return len(data)

    def _make_folder(self, folder: Path) -> None:
        if folder.is_dir():
            return
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # It may have been there, or the umask may be odd: what people wrote is theirs alone.
        self._folder.chmod(0o700)
        folder.mkdir(mode=0o700, exist_ok=True)

    def _prune(self) -> None:
        """Count what is here, and remove what is too much or was left half written."""
        kept: list[tuple[int, int, Path]] = []
        stale = time.time_ns() - _STALE_NANOSECONDS
        for file in self._folder.glob("*/.*.tmp"):
            if _state(file)[0] < stale:
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


def _read(file: Path, tokens: list[int]) -> Arrays | None:
    try:
        data = file.read_bytes()
    except OSError:
        return None
    try:
        length = int.from_bytes(data[:8], "little")
        metadata = msgspec.json.decode(data[8 : 8 + length])["__metadata__"]
        block: Arrays = load(data)
        if metadata["format"] != _FORMAT or metadata["tokens"] != repr(tokens):
            raise ValueError("it belongs to other tokens")
        if metadata["sum"] != _checksum(tokens, block):
            raise ValueError("its checksum is wrong")
    except (SafetensorError, msgspec.DecodeError, ValueError, KeyError, TypeError) as error:
        log.warning("a kept prompt is damaged and was removed: %s: %s", file.name, error)
        file.unlink(missing_ok=True)
        return None
    return block


def _checksum(tokens: list[int], block: Arrays) -> str:
    digest = hashlib.blake2b(repr(tokens).encode(), digest_size=20)
    for name in sorted(block):
        array = block[name]
        digest.update(f"{name}:{array.dtype}:{array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()


def _touch(files: list[Path]) -> None:
    """Note that these blocks of one sequence were used, the first one last."""
    now = time.time_ns()
    for place, file in enumerate(files):
        try:
            os.utime(file, ns=(now - place * 1000, now - place * 1000))
        except OSError as error:
            log.debug("%s is gone: %s", file.name, error)


def _state(file: Path) -> tuple[int, int]:
    """When a file was last used, and its size; zeros if it is gone."""
    try:
        state = file.stat()
    except OSError:
        return 0, 0
    return state.st_mtime_ns, state.st_size
