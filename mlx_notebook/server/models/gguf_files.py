"""Name the GGUF files in a folder. Only names of files are looked at here, not their contents."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from mlx_notebook.model_files.model_folder import shown

_PART = re.compile(r"-(\d{5})-of-\d{5}\.gguf$")
# The vision part of a model, which lies beside it.
_PROJECTOR = "mmproj"


def gguf_files(folder: Path) -> list[Path]:
    """Return the GGUF files of models in a folder; of one in several parts the first."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    return [
        folder / name
        for name in names
        if name.endswith(".gguf")
        and name[0] not in "._"
        and _PROJECTOR not in name.lower()
        and ((part := _PART.search(name)) is None or part[1] == "00001")
    ]


def named_files(name: str, folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the models of a folder's GGUF files with their names.

    One file has the name of its folder. Of several, each has its own name after it.
    """
    files = gguf_files(folder)
    for file in files:
        yield (name if len(files) == 1 else f"{name}/{stem(file)}"), file


def stem(file: Path) -> str:
    """Return the name of a GGUF file without its ending."""
    return shown(_PART.sub("", file.name).removesuffix(".gguf"))
