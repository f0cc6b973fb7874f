"""Packed masks on logits."""

import mlx.core as mx
import numpy as np
import pytest

from mlx_notebook.engine.grammar.mask import apply, unpack, words


@pytest.mark.parametrize("width", [1, 31, 32, 33, 2048, 2053])
@pytest.mark.parametrize("rows", [1, 3])
def test_forbidden_tokens_go_to_minus_infinity_and_others_stay(width: int, rows: int) -> None:
    rng = np.random.default_rng(0)
    logits = mx.array(rng.normal(size=(rows, width)).astype(np.float32))
    masks = rng.integers(0, 2**32, (rows, words(width)), dtype=np.uint32)
    expected = np.array(logits)
    for row in range(rows):
        for token in range(width):
            if not masks[row, token // 32] >> np.uint32(token % 32) & 1:
                expected[row, token] = -np.inf
    for made in (apply(logits, masks), unpack(logits, mx.array(masks))):
        assert made.dtype == logits.dtype
        np.testing.assert_array_equal(np.array(made), expected)


def test_a_mask_of_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        apply(mx.zeros((1, 64)), np.zeros((1, 3), np.uint32))
