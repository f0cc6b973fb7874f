"""Penalties for repeated tokens, the logit bias, and the tokens that a request allows."""

from typing import Any

import mlx.core as mx
import numpy as np

from mlx_notebook.engine.sampling.row import Row


def apply_penalties(
    rows: list[Row], adjusted: list[int], inputs: mx.array, logits: mx.array
) -> mx.array:
    """Apply the penalties and biases of the rows with the indices `adjusted`.

    The repetition penalty (https://arxiv.org/abs/1909.05858) counts the prompt too. The presence
    and frequency penalties are OpenAI's and do not. With a window, all three count the tokens in
    it, as in llama.cpp.

    Parameters
    ----------
    inputs
        The tokens fed in this step, shape (B,).
    logits
        Shape (B, vocabulary).

    Returns
    -------
    Shape (B, vocabulary), not evaluated.
    """
    size = logits.shape[-1]
    parts = list(mx.split(logits, logits.shape[0])) if len(rows) > 1 else [logits]
    for i in adjusted:
        row = rows[i]
        if row.counts is None:
            _begin(row, size)
        if row.position > 0:
            _count(row, inputs[i])
        line = parts[i].astype(mx.float32)
        if row.repetition_penalty != 1:
            factor = row.repetition_penalty
            penalised = mx.where(line < 0, line * factor, line / factor)
            line = mx.where(row.seen, penalised, line)
        if row.presence_penalty or row.frequency_penalty:
            counts: Any = row.counts
            line = line - row.frequency_penalty * counts
            line = line - row.presence_penalty * (counts > 0)
        parts[i] = line + row.bias
        state = (row.counts, row.seen, row.recent)
        mx.async_eval([array for array in state if array is not None])
    return mx.concatenate(parts, axis=0)


def _begin(row: Row, size: int) -> None:
    """Set up the state of a row's penalties before its first token."""
    row.counts = mx.zeros((size,), mx.float32)
    row.seen = mx.zeros((size,), mx.bool_)
    known = [token for token in row.prompt if token < size]
    if known:
        row.seen[mx.array(known)] = True
    if row.window:
        # A ring buffer: a token's index is its number in prompt and answer, modulo the window.
        # Unused entries hold an id outside the vocabulary.
        row.counts = mx.array(np.bincount(known, minlength=size), mx.float32)
        row.recent = mx.array([*row.prompt, *[size] * (row.window - len(row.prompt))], mx.uint32)
    bias = np.full((size,), 0 if row.allowed is None else -np.inf, np.float32)
    if row.allowed is not None:
        bias[row.allowed] = 0
    for token, value in row.logit_bias.items():
        if 0 <= token < size:
            bias[token] += value
    row.bias = mx.array(bias)


def _count(row: Row, token: mx.array) -> None:
    """Count the token that was fed in this step."""
    if row.window == 0 or row.counts is None or row.seen is None:
        return
    row.counts[token] += 1.0
    if row.recent is None:
        row.seen[token] = True
        return
    index = (len(row.prompt) + row.position - 1) % row.recent.size
    if len(row.prompt) + row.position > row.recent.size:
        row.counts[row.recent[index]] -= 1.0
    row.recent[index] = token
    row.seen = row.counts > 0
