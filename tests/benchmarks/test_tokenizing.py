"""The benchmark of the tokenizer measures equal tokens."""

from pathlib import Path

from mlx_lm.utils import load_tokenizer

from benchmarks.engine.tokenizing import conversation, measure
from mlx_notebook import demo_models


def test_a_next_turn_is_measured_in_each_way() -> None:
    tokenizer = load_tokenizer(Path(demo_models.__file__).parent / "tiny-chat")
    first, second = conversation(tokenizer, 9_000)
    assert 9_000 < len(first) < len(second)
    tokens, *times = measure(tokenizer, 9_000, 1)
    assert tokens > 1_000
    assert len(times) == 3
    assert all(times)
