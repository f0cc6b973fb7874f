"""Batches of examples, in an order that depends on the seed and the step only.

So training goes on from any step as if it had not been interrupted.
"""

from collections.abc import Iterator

import mlx.core as mx
import numpy as np

from mlx_notebook.engine.training.training_data import TokenizedExample

Batch = tuple[mx.array, mx.array]
"""Tokens of shape (rows, length), and for each row the first and the last place to learn."""

# Few different lengths, since each one may compile kernels.
_ROUNDED_TO = 32
# Examples of similar length are put together within so many batches.
_SORTED_TOGETHER = 8


def training_batches(
    examples: list[TokenizedExample], size: int, seed: int, first: int
) -> Iterator[Batch]:
    """Yield batches without end, from step `first` on.

    Parameters
    ----------
    size
        Examples of a batch, at most as many as there are.
    """
    in_epoch = -(-len(examples) // size)
    step = first
    while True:
        order = _epoch(examples, size, seed, step // in_epoch)
        for at in range(step % in_epoch, in_epoch):
            yield as_batch([examples[i] for i in order[at * size : (at + 1) * size]])
            step += 1


def all_batches(examples: list[TokenizedExample], size: int) -> Iterator[Batch]:
    """Yield each example once, those of similar length together."""
    ordered = sorted(examples, key=lambda example: len(example.tokens))
    for at in range(0, len(ordered), size):
        yield as_batch(ordered[at : at + size])


def as_batch(examples: list[TokenizedExample]) -> Batch:
    """Return examples as one batch, padded at the end."""
    longest = max(len(example.tokens) for example in examples)
    length = -(-longest // _ROUNDED_TO) * _ROUNDED_TO + 1
    tokens = np.zeros((len(examples), length), np.int32)
    for row, example in enumerate(examples):
        tokens[row, : len(example.tokens)] = example.tokens
    places = [(example.answer_at, len(example.tokens) - 1) for example in examples]
    return mx.array(tokens), mx.array(places)


def _epoch(examples: list[TokenizedExample], size: int, seed: int, epoch: int) -> list[int]:
    """Return the order of an epoch, filled up with its first examples to whole batches."""
    numbers = np.random.default_rng((seed, epoch))
    order = [int(i) for i in numbers.permutation(len(examples))]
    order += order[: -len(order) % size]
    batches = []
    for at in range(0, len(order), size * _SORTED_TOGETHER):
        part = order[at : at + size * _SORTED_TOGETHER]
        part.sort(key=lambda i: len(examples[i].tokens))
        batches += [part[i : i + size] for i in range(0, len(part), size)]
    return [i for at in numbers.permutation(len(batches)) for i in batches[at]]
