"""KV caches of rows with unequal lengths give the tokens that each row gives alone."""

from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx_lm.models.cache import QuantizedKVCache, make_prompt_cache
from mlx_lm.utils import load_model

from mlx_notebook.engine.kv_cache.batch_cache import BatchCache
from mlx_notebook.engine.kv_cache.ragged import (
    RaggedKVCache,
    RaggedQuantizedKVCache,
    RowPositions,
)
from tests.tiny_models.models import gemma3, qwen3

PROMPTS = [[5, 9, 13, 17, 21], [7] * 3 + list(range(30, 60)), [3, 4, 8]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    loaded, _ = load_model(qwen3(tmp_path_factory.mktemp("ragged") / "m", head_dim=32))
    return loaded


def plain(model: Any) -> list[Any]:
    return list(make_prompt_cache(model))


def in_8_bits(model: Any) -> list[Any]:
    return [QuantizedKVCache(32, 8) for _ in make_prompt_cache(model)]


def alone(model: Any, cache: list[Any], prompt: list[int], count: int = 12) -> list[int]:
    """Greedy tokens with mlx-lm's own cache of one row."""
    found: list[int] = []
    inputs = prompt
    for _ in range(count):
        logits = model(mx.array([inputs]), cache=cache)
        inputs = [int(mx.argmax(logits[0, -1]).item())]
        found.extend(inputs)
    return found


def padded(rows: list[list[int]]) -> mx.array:
    width = max(map(len, rows))
    return mx.array([row + [0] * (width - len(row)) for row in rows])


@pytest.mark.parametrize("make", [plain, in_8_bits])
@pytest.mark.parametrize("align", [1, 256])
def test_rows_advance_by_different_numbers_of_tokens(
    model: Any, make: Any, align: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RowPositions, "align", align)
    wanted = [alone(model, make(model), prompt) for prompt in PROMPTS]
    batch = BatchCache([make(model) for _ in PROMPTS])
    assert batch.ragged
    logits = batch.feed(model, padded(PROMPTS), [len(prompt) for prompt in PROMPTS])
    found = [
        [int(mx.argmax(logits[i, len(prompt) - 1]).item())] for i, prompt in enumerate(PROMPTS)
    ]
    while min(map(len, found)) < 12:
        # Feed one, two or three tokens that are known, and check what the model says after each.
        fed = [
            wanted[i][len(row) - 1 : len(row) + i] if len(row) < 12 else [0]
            for i, row in enumerate(found)
        ]
        logits = batch.feed(model, padded(fed), [len(tokens) for tokens in fed])
        for i, tokens in enumerate(fed):
            if len(found[i]) < 12:
                found[i].extend(mx.argmax(logits[i, : len(tokens)], axis=-1).tolist())
    assert [row[:12] for row in found] == wanted


@pytest.mark.parametrize("make", [plain, in_8_bits])
def test_rows_are_cut_taken_out_joined_and_kept(model: Any, make: Any) -> None:
    wanted = [alone(model, make(model), prompt, 4) for prompt in PROMPTS]
    counts = [len(prompt) for prompt in PROMPTS]
    batch = BatchCache([make(model) for _ in PROMPTS])
    wrong = [[*prompt, 11, 12] for prompt in PROMPTS]
    batch.feed(model, padded(wrong), [count + 2 for count in counts])
    batch.cut([2, 2, 2])
    middle = batch.split([1])
    assert (len(batch), len(middle)) == (2, 1)
    middle.extend(batch)
    middle.keep([0, 2])
    single = middle.extract(1)
    assert single[0].offset == counts[2]
    middle.extend(BatchCache([single]))
    order = [1, 2, 2]
    for step in range(3):
        tokens = mx.array([[wanted[i][step]] for i in order])
        logits = middle.feed(model, tokens, [1, 1, 1])
        assert mx.argmax(logits[:, 0], axis=-1).tolist() == [wanted[i][step + 1] for i in order]


def test_dequantised_numbers_give_the_same_tokens(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def batched() -> list[list[int]]:
        cache = BatchCache([in_8_bits(model) for _ in PROMPTS])
        counts = [len(prompt) for prompt in PROMPTS]
        width = max(counts)
        inputs = mx.array([prompt + [0] * (width - len(prompt)) for prompt in PROMPTS])
        logits = cache.feed(model, inputs, counts)
        last = logits[mx.arange(len(PROMPTS)), mx.array(counts) - 1]
        found = [mx.argmax(last, axis=-1)]
        for _ in range(8):
            logits = cache.feed(model, found[-1][:, None], [1] * len(PROMPTS))
            found.append(mx.argmax(logits[:, 0], axis=-1))
        assert hasattr(cache.layers[0], "bits") != RaggedQuantizedKVCache.dequantizes
        assert type(cache.extract(0)[0]) is QuantizedKVCache
        return [tokens.tolist() for tokens in found]

    quantised = batched()
    monkeypatch.setattr(RaggedQuantizedKVCache, "dequantizes", True)
    assert batched() == quantised


def test_the_cache_of_one_row_is_not_copied_and_the_original_stays(model: Any) -> None:
    original = plain(model)
    model(mx.array([PROMPTS[1]]), cache=original)
    before = mx.array(original[0].keys)
    mx.eval(before)
    batch = BatchCache([original])
    batch.feed(model, mx.array([[50, 51]]), [2])
    mx.eval(batch.state)
    assert original[0].offset == len(PROMPTS[1])
    assert mx.array_equal(original[0].keys, before).item()


def test_equal_rows_need_no_mask_and_unequal_ones_have_one() -> None:
    positions = RowPositions([4, 4])
    layer = RaggedKVCache(positions)
    assert layer.make_mask(1) is None
    assert layer.make_mask(3) == "causal"
    assert layer.offset.tolist() == [4, 4]  # type: ignore[union-attr]
    positions.advance([1, 3])
    mask = layer.make_mask(2)
    assert isinstance(mask, mx.array)
    assert mask.shape == (2, 1, 2, 9)
    assert mask.sum(axis=-1).tolist() == [[[6, 7]], [[8, 9]]]
    window = layer.make_mask(1, window_size=3)
    assert isinstance(window, mx.array)
    assert window.sum(axis=-1).tolist() == [[[3]], [[3]]]


def test_a_sliding_window_keeps_mlx_lms_cache_and_rows_are_padded(tmp_path: Path) -> None:
    model, _ = load_model(gemma3(tmp_path / "g"))
    wanted = [alone(model, plain(model), prompt, 4) for prompt in PROMPTS]
    batch = BatchCache([plain(model) for _ in PROMPTS])
    assert not batch.ragged
    batch.feed(model, padded([p[:-1] for p in PROMPTS]), [len(p) - 1 for p in PROMPTS])
    tokens = [prompt[-1] for prompt in PROMPTS]
    for step in range(4):
        logits = batch.feed(model, mx.array(tokens)[:, None], [1, 1, 1])
        tokens = mx.argmax(logits[:, 0], axis=-1).tolist()
        assert tokens == [row[step] for row in wanted]
