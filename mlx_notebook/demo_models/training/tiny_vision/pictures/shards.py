"""Draw training images to disk in shards of a few hundred images of one size."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import pickle
import random
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .drawing import Mark, draw
from .pixels import damaged, fitted
from .scenes import Scene, compose

# (height, width) after the processor's resize, and how often each size is drawn. Common sizes
# of squares, photos, plots, screens and strips become these sizes.
SIZES: dict[tuple[int, int], int] = {
    (128, 128): 8, (96, 144): 8, (144, 96): 3, (112, 144): 2, (144, 112): 2, (112, 128): 3,
    (128, 112): 2, (96, 160): 4, (160, 96): 2, (112, 112): 4, (80, 176): 2, (176, 80): 2,
    (64, 208): 1, (208, 64): 1, (64, 256): 1, (96, 128): 2, (128, 96): 1,
}  # fmt: skip
SHARD = 256


@dataclass
class Picture:
    """One drawn image: its pixels (height, width, 3) and its scene."""

    pixels: NDArray[np.uint8]
    scene: Scene
    marks: list[Mark]


def picture(size: tuple[int, int], rng: random.Random) -> Picture:
    """Draw one random image that the processor would resize to `size` (height, width)."""
    height, width = size
    scene = compose(width, height, rng)
    scale = rng.choice((1.0, 1.0, rng.uniform(0.75, 1.5), rng.uniform(1.0, 2.6)))
    stretch = rng.uniform(0.94, 1.06) if rng.random() < 0.7 else 1.0
    pixels, marks = draw(scene, rng, scale * stretch, scale / stretch)
    if rng.random() < 0.5:
        pixels = fitted(damaged(pixels, rng), height, width)
    else:
        pixels = damaged(fitted(pixels, height, width), rng)
    return Picture(pixels, scene, marks)


def mirrored(shown: Picture) -> Picture:
    """Return the mirrored image; return an image with numbers unchanged."""
    if shown.scene.numbers:
        return shown
    width = shown.scene.width
    things = [replace(thing, x=width - thing.x) for thing in shown.scene.things]
    scene = replace(shown.scene, things=things)
    return Picture(np.ascontiguousarray(shown.pixels[:, ::-1]), scene, [])


def write_shard(folder: Path, seed: int) -> Path:
    """Draw one shard; its name contains the size and the seed."""
    rng = random.Random(seed)
    size = rng.choices(list(SIZES), list(SIZES.values()))[0]
    path = folder / f"{size[0]}x{size[1]}-{seed}.pickle"
    if not path.exists():
        pictures = [picture(size, rng) for _ in range(SHARD)]
        partial = path.with_suffix(".part")
        partial.write_bytes(pickle.dumps(pictures, protocol=5))
        os.replace(partial, path)
    return path


def read_shard(path: Path) -> list[Picture]:
    """Return a shard's images; use it only for files that `write_shard` wrote on this machine."""
    pictures: list[Picture] = pickle.loads(path.read_bytes())  # noqa: S301
    return pictures


def _work(job: tuple[str, int]) -> None:
    write_shard(Path(job[0]), job[1])


def main() -> None:
    """Draw shards `first` to `first + count` into a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    jobs = [(str(given.folder), seed) for seed in range(given.first, given.first + given.count)]
    with multiprocessing.Pool(given.processes) as pool:
        for _ in pool.imap_unordered(_work, jobs):
            pass


if __name__ == "__main__":
    # Import the module through the package, so that pickled classes carry its full name.
    from . import shards

    shards.main()
