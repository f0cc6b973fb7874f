"""How many tokens a draft model drafts, and which vocabularies fit together."""

from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx_lm.utils import load_model

from mlx_notebook.engine.sampling.row import Row
from mlx_notebook.engine.speculative.draft_loading import same_tokens
from mlx_notebook.engine.speculative.drafts import DraftLength, DraftModel
from tests.tiny_models.models import qwen3


def test_drafts_grow_while_they_are_accepted_and_pause_when_they_are_not() -> None:
    length = DraftLength(8)
    length.update(4, 4)
    assert length.next() == 8
    length.update(8, 2)
    assert length.next() == 2
    for _ in range(4):
        length.update(1, 0)
    assert [length.next() for _ in range(17)] == [0] * 16 + [1]


def test_vocabularies_agree_where_they_overlap() -> None:
    ours = {"a": 0, "b": 1, "c": 2}
    assert same_tokens(ours, {"a": 0, "b": 1})
    assert same_tokens(ours, {**ours, "<added>": 3})
    assert not same_tokens(ours, {"a": 1, "b": 0})
    assert not same_tokens(ours, {})


class Counted:
    """A model that counts the tokens that it is fed."""

    def __init__(self, model: Any):
        self.layers, self.fed, self._model = model.layers, 0, model

    def __call__(self, inputs: mx.array, cache: Any) -> mx.array:
        self.fed += inputs.size
        return self._model(inputs, cache=cache)


def test_what_a_draft_model_has_computed_for_one_user_is_not_used_for_another(
    tmp_path: Path,
) -> None:
    loaded, _ = load_model(qwen3(tmp_path / "draft"))
    model = Counted(loaded)
    draft_model = DraftModel(model, 64, 512)
    tokens, last = list(range(5, 45)), mx.array([7], mx.uint32)

    def fed_for(user: str) -> int:
        before = model.fed
        assert draft_model.draft(Row(), tokens, last, 1, user) is not None
        return model.fed - before

    assert fed_for("ann") == len(tokens) + 1
    assert fed_for("ann") < len(tokens)
    assert fed_for("bob") == len(tokens) + 1
