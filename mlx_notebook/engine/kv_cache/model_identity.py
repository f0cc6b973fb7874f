"""Names everything that a model's KV caches depend on with one hash."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

_WHOLE_BYTES = 64 * 2**20
_SAMPLE_BYTES = 2**16
_SMALL = (".json", ".py")
_SETTINGS = ("config.json", "adapter_config.json")


def identify(folders: list[Path], *also: str) -> str:
    """Return a name that changes with anything that changes what a model computes.

    Small weight files are hashed whole. Of large ones, size, time of change, header and samples are
    hashed, since reading them again would cost as much as the prompt. Folders may be moved.

    Parameters
    ----------
    folders
        The model's folder or GGUF file, and its adapter's folder if it has one.
    also
        What else to hash, for example versions of libraries.

    Raises
    ------
    OSError
        If a file cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    for text in also:
        digest.update(f"{len(text)}:{text}".encode())
    for number, folder in enumerate(folders):
        for file in _files(folder):
            state = file.stat()
            digest.update(f"\0{number}/{file.name}:{state.st_size}\0".encode())
            if file.suffix in _SMALL or state.st_size <= _WHOLE_BYTES:
                digest.update(file.read_bytes())
                continue
            digest.update(f"{state.st_mtime_ns}".encode())
            for sample in _samples(file, state.st_size):
                digest.update(sample)
    return digest.hexdigest()


def _files(folder: Path) -> list[Path]:
    if folder.is_file():
        return [folder]
    return sorted(
        file
        for file in folder.iterdir()
        if (file.suffix in (".safetensors", ".py") or file.name in _SETTINGS) and file.is_file()
    )


def _samples(file: Path, size: int) -> Iterator[bytes]:
    with file.open("rb") as stream:
        header = int.from_bytes(stream.read(8), "little")
        # The first bytes of a GGUF file are no length, and as one they are larger than any header.
        yield stream.read(min(header, _WHOLE_BYTES))
        for offset in (size // 3, size // 2, size - _SAMPLE_BYTES):
            stream.seek(offset)
            yield stream.read(_SAMPLE_BYTES)
