"""Where checkpoints of a prompt are kept whose KV cache cannot be cut."""

import pytest

from mlx_notebook.engine.kv_cache.checkpoints import checkpoint_lengths
from mlx_notebook.engine.prompts.prompt import PreparedPrompt


@pytest.mark.parametrize(
    ("count", "borders", "cached", "kept"),
    [
        (300, [], 0, []),
        (300, [200, 295], 0, [200, 295]),
        (300, [2, 295], 0, [295]),  # a system prompt that is not worth a call of the model
        (300, [200, 250, 270, 295], 0, [200, 295]),
        (600, [200, 350, 370, 450, 595], 0, [200, 370, 450, 595]),
        (600, [200, 350, 595], 350, [595]),
        (600, [200, 595], 590, [595]),
        (600, [200, 595], 597, []),
        (300, [299], 0, []),  # the last token is always computed
        (5000, [4100], 0, [2048, 4100]),
        (5000, [2100, 4900], 2048, [4096, 4900]),
    ],
)
def test_checkpoints_are_at_borders_and_every_2048_tokens_but_not_close_together(
    count: int, borders: list[int], cached: int, kept: list[int]
) -> None:
    prompt = PreparedPrompt([1] * count, "", borders)
    assert checkpoint_lengths(prompt, cached) == kept
