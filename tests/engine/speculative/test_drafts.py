"""How many tokens a draft model drafts, and which vocabularies fit together."""

from mlx_notebook.engine.speculative.draft_loading import same_tokens
from mlx_notebook.engine.speculative.drafts import DraftLength


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
