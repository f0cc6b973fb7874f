"""The recorded attention is that of MLX's own fused function."""

from types import ModuleType
from typing import Any

import mlx.core as mx
import pytest
from mlx_lm.models.base import scaled_dot_product_attention

from mlx_notebook.engine.generation.attention import AttentionRecord, attention_modules, recorded

HEADS, GROUPS, SIZE, TOTAL = 4, 2, 8, 12


def compute(module: ModuleType, begin: int, end: int = TOTAL, **options: Any) -> mx.array:
    """The fused function's weights of some tokens, shape (end - begin, end).

    Its values are the unit vectors, so that it returns weights.
    """
    mx.random.seed(0)
    queries = mx.random.normal((1, HEADS, TOTAL, SIZE))[:, :, begin:end]
    keys = mx.random.normal((1, GROUPS, TOTAL, SIZE))[:, :, :end]
    values = mx.broadcast_to(mx.eye(end), (1, GROUPS, end, end))
    found: mx.array = module.scaled_dot_product_attention(
        queries, keys, values, cache=None, scale=0.3, **options
    )
    return found[0].mean(axis=0)


@pytest.fixture
def module() -> ModuleType:
    module = ModuleType("mlx_lm.models.example")
    module.scaled_dot_product_attention = scaled_dot_product_attention  # type: ignore[attr-defined]
    return module


@pytest.mark.parametrize("kind", ["none", "causal", "boolean", "additive", "sinks"])
def test_it_equals_the_fused_function(module: ModuleType, kind: str) -> None:
    allowed = mx.arange(TOTAL - 5, TOTAL)[:, None] >= mx.arange(TOTAL)
    options: dict[str, Any] = {
        "none": {"mask": None},
        "causal": {"mask": "causal"},
        "boolean": {"mask": allowed},
        "additive": {"mask": mx.where(allowed, 0.0, -1e9)},
        "sinks": {"mask": "causal", "sinks": mx.array([0.5, -1.0, 2.0, 0.0])},
    }[kind]
    with recorded([module], TOTAL) as layers:
        expected = compute(module, TOTAL - 5, **options)
    (found,) = layers
    assert found.heads == HEADS
    assert mx.allclose(found.mean, expected, atol=1e-5).item()
    assert module.scaled_dot_product_attention is scaled_dot_product_attention


def test_a_layer_that_has_lost_tokens_is_left_out(module: ModuleType) -> None:
    with recorded([module], TOTAL + 1) as layers:
        compute(module, TOTAL - 5, mask="causal")
    assert layers == []


def test_only_libraries_functions_are_recorded() -> None:
    class Layer:
        def modules(self) -> list[Any]:
            return [self]

    assert attention_modules(Layer()) == []


def test_chunks_give_what_one_call_gives(module: ModuleType, monkeypatch: Any) -> None:
    monkeypatch.setattr(
        "mlx_notebook.engine.generation.attention.attention_modules", lambda _: [module]
    )
    start = 3
    record = AttentionRecord(None, start, TOTAL)
    for begin, end in ((0, 2), (2, 7), (7, TOTAL)):
        with record.recording(begin, end - begin):
            compute(module, begin, end, mask="causal")
    weights = compute(module, 0, mask="causal")
    result = record.result()
    # The query before a token chose it.
    rows = weights[start - 1 : TOTAL - 1, :start]
    assert result.mean == pytest.approx(rows.mean(axis=0).tolist(), abs=1e-5)
    assert len(result.tokens) == TOTAL - start
    for top, row in zip(result.tokens, rows.tolist(), strict=True):
        assert sorted(top) == [
            (place, pytest.approx(weight, abs=1e-5)) for place, weight in enumerate(row)
        ]


def test_the_memory_of_a_step_has_a_limit_and_is_known(
    module: ModuleType, monkeypatch: Any
) -> None:
    path = "mlx_notebook.engine.generation.attention"
    monkeypatch.setattr(f"{path}.attention_modules", lambda _: [module])
    # Two tokens of four heads.
    monkeypatch.setattr(f"{path}._STEP_BYTES", 4 * 2 * HEADS * TOTAL)
    start = 6
    record = AttentionRecord(None, start, TOTAL)
    begin, sizes = 0, []
    while begin < TOTAL:
        size = min(record.step_tokens(begin), TOTAL - begin)
        with record.recording(begin, size):
            compute(module, begin, begin + size, mask="causal")
        begin += size
        sizes.append((size, record.nbytes // (16 * HEADS)))
    # Before anything is recorded a step may have all tokens. The first one shows the heads.
    assert sizes == [(5, 0), (1, 1 * 6), (2, 2 * 8), (2, 2 * 10), (2, 2 * 12)]
