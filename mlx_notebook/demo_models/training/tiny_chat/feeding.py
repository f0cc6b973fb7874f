"""Make batches in processes of their own, for a device that computes faster than one can write."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

from .batches import Batch, Encoder, Mixture, batches
from .texts.dialogues import Difficulty

AHEAD = 8
"""Batches that wait for each worker."""


class Feeder:
    """Worker processes, each with texts of its own, that put batches into one queue."""

    def __init__(
        self,
        workers: int,
        tokenizer: Path,
        seed: str,
        size: int,
        mixed: Callable[[float], Mixture],
        levelled: Callable[[float], Difficulty],
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self.progress: Any = context.Value("d", 0.0)
        self.queue: Any = context.Queue(AHEAD * workers)
        self.workers = [
            context.Process(
                target=_work,
                args=(self.queue, self.progress, tokenizer, f"{seed} {i}", size, mixed, levelled),
                daemon=True,
            )
            for i in range(workers)
        ]
        for worker in self.workers:
            worker.start()

    def batches(self, progress: Callable[[], float]) -> Iterator[Batch]:
        """Yield batches, and tell the workers the training's progress."""
        while True:
            self.progress.value = progress()
            batch: Batch = self.queue.get()
            yield batch

    def end(self) -> None:
        """End the workers."""
        for worker in self.workers:
            worker.terminate()
            worker.join()


def _work(
    queue: Any,
    progress: Any,
    tokenizer: Path,
    seed: str,
    size: int,
    mixed: Callable[[float], Mixture],
    levelled: Callable[[float], Difficulty],
) -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    encoder = Encoder(tokenizer)

    def told() -> float:
        return float(progress.value)

    for batch in batches(encoder, Random(seed), told, size, mixed=mixed, levelled=levelled):
        queue.put(batch)
