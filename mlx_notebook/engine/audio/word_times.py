"""When each word of a window is spoken, from what the decoder attends to.

Method: https://github.com/openai/whisper/discussions/813 (attention of some heads, aligned with the
text by dynamic time warping).
"""

import time
from collections.abc import Generator
from concurrent.futures import Executor
from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt
from mlx_audio.stt.models.whisper.audio import TOKENS_PER_SECOND
from mlx_audio.stt.models.whisper.timing import WordTiming, merge_punctuations
from scipy.ndimage import median_filter

# Positions over which attention is smoothed.
_FILTER = 7
# Seconds between two looks at the worker.
_PAUSE = 0.001
# Punctuation that belongs to the word after it, and to the word before it.
_BEFORE = "\"'\u201c\u00bf([{-"
_AFTER = "\"'.\u3002,\uff0c!\uff01?\uff1f:\uff1a\u201d)]}\u3001"
# The steps of a path: to the next row and column, to the next row. The third is the next column.
_DIAGONAL, _DOWN = 0, 1

Matrix = npt.NDArray[np.float32]


def word_times(
    model: Any,
    tokenizer: Any,
    tokens: list[int],
    features: mx.array,
    seconds: float,
    workers: Executor,
) -> Generator[None, None, list[WordTiming]]:
    """Return the words of a window's text with their times within it, in seconds.

    Parameters
    ----------
    tokens
        The text, without times.
    features
        What the encoder made of the window.
    seconds
        Length of its sound.
    workers
        Align attention and text, which takes a while.
    """
    start = len(tokenizer.sot_sequence)
    fed = [*tokenizer.sot_sequence, tokenizer.no_timestamps, *tokens, tokenizer.eot]
    logits, _, attention = model.decoder(mx.array([fed]), features)
    all_tokens = mx.softmax(logits[0, start:-2, : tokenizer.eot].astype(mx.float32), axis=-1)
    own = mx.take_along_axis(all_tokens, mx.array(tokens)[:, None], axis=1)
    probabilities = own[:, 0].tolist()
    positions = max(1, int(seconds * TOKENS_PER_SECOND))
    heads = mx.stack([attention[layer][0, head] for layer, head in model.alignment_heads.tolist()])
    weights = mx.softmax(heads[:, :, :positions].astype(mx.float32), axis=-1)
    mean, deviation = weights.mean(axis=-2, keepdims=True), weights.std(axis=-2, keepdims=True)
    normal = np.array((weights - mean) / mx.maximum(deviation, 1e-9))
    yield
    aligned = workers.submit(_token_starts, normal, start)
    while not aligned.done():
        time.sleep(_PAUSE)
        yield
    starts = aligned.result()
    words, pieces = tokenizer.split_to_word_tokens([*tokens, tokenizer.eot])
    timed, at = [], 0
    for word, piece in zip(words[:-1], pieces[:-1], strict=True):
        end = at + len(piece)
        probability = float(np.mean(probabilities[at:end]))
        timed.append(WordTiming(word, piece, starts[at], starts[end], probability))
        at = end
    if len(timed) > 1:
        merge_punctuations(timed, _BEFORE, _AFTER)
    return timed


def _token_starts(weights: Matrix, start: int) -> list[float]:
    """Return when each token of a text begins, and its end token, in seconds.

    `weights` have the shape (heads, tokens, positions); the first `start` tokens are marks.
    """
    smooth = median_filter(weights, (1, 1, _FILTER), mode="mirror").mean(axis=0)
    rows, columns = align(-smooth[start:-1])
    first = np.searchsorted(rows, np.arange(rows[-1] + 1))
    return [float(column) / TOKENS_PER_SECOND for column in columns[first]]


def align(costs: Matrix) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the cheapest path through a matrix (dynamic time warping).

    The path leads from the first corner to the last one and never back. Places with the same sum of
    row and column are computed together.

    Returns
    -------
    rows, columns
        The places on the path, in order.
    """
    height, width = costs.shape
    total = np.full((height + 1, width + 1), np.inf, np.float32)
    total[0, 0] = 0
    steps = np.zeros(total.shape, np.int8)
    for diagonal in range(2, height + width + 1):
        row = np.arange(max(1, diagonal - width), min(height, diagonal - 1) + 1)
        column = diagonal - row
        before = np.stack(
            (total[row - 1, column - 1], total[row - 1, column], total[row, column - 1])
        )
        steps[row, column] = before.argmin(axis=0)
        total[row, column] = costs[row - 1, column - 1] + before.min(axis=0)
    at_row, at_column, path = height, width, []
    while at_row > 0 and at_column > 0:
        path.append((at_row - 1, at_column - 1))
        step = steps[at_row, at_column]
        at_row -= step in (_DIAGONAL, _DOWN)
        at_column -= step != _DOWN
    rows, columns = zip(*reversed(path), strict=True)
    return np.array(rows), np.array(columns)
