"""The sampler: filters, penalties and log probabilities against their definitions."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlx_notebook import protocol
from mlx_notebook.engine.grammar.constraints import BadWords
from mlx_notebook.engine.grammar.mask import words
from mlx_notebook.engine.sampling.row import Row, make_row
from mlx_notebook.engine.sampling.sampler import BatchSampler, choose_at
from tests.engine.process import EngineProcess
from tests.engine.test_generation import ask, everything

WIDTH = 40
HOT = {"temperature": 1.3, "ignore_eos": True, "max_tokens": 40}
# Letters only: a random model would write marks and broken bytes.
LETTERS = [ord(letter) - 33 for letter in map(chr, range(0x21, 0x7F))]
GREEDY = {
    "temperature": 0.0,
    "ignore_eos": True,
    "max_tokens": 30,
    "allowed_token_ids": LETTERS,
}


def logits(seed: int, rows: int = 1) -> mx.array:
    return mx.random.normal((rows, WIDTH), key=mx.random.key(seed)) * 2


def chosen(rows: list[Row], given: mx.array) -> list[int]:
    """The tokens of one step; the rows stay as they are."""
    tokens, _ = BatchSampler()(
        [replace(row) for row in rows], mx.zeros((len(rows),), mx.int32), given
    )
    return list(tokens.tolist())


def drawn(given: mx.array, **settings: Any) -> set[int]:
    """What a row with these settings ever draws."""
    rows = [Row(temperature=1.0, seed=seed, **settings) for seed in range(3000)]
    return set(chosen(rows, mx.broadcast_to(given, (len(rows), WIDTH))))


def probabilities(given: mx.array) -> np.ndarray[Any, Any]:
    line = np.array(given[0], np.float64)
    return np.exp(line - np.logaddexp.reduce(line))


@pytest.mark.parametrize("k", [1, 3, WIDTH + 1])
def test_top_k_keeps_so_many_of_the_most_likely_tokens(k: int) -> None:
    p = probabilities(logits(4))
    likely = set(np.argsort(-p)[:k].tolist())
    seen = drawn(logits(4), top_k=k)
    assert seen <= likely
    assert seen >= {token for token in likely if p[token] / p[list(likely)].sum() > 0.01}


@pytest.mark.parametrize("mass", [0.1, 0.5, 0.9])
def test_top_p_keeps_the_fewest_tokens_that_reach_a_probability(mass: float) -> None:
    p = probabilities(logits(5))
    order = np.argsort(-p)
    likely = set(order[: int((np.cumsum(p[order]) < mass).sum()) + 1].tolist())
    seen = drawn(logits(5), top_p=mass)
    assert seen <= likely
    assert seen >= {token for token in likely if p[token] / p[list(likely)].sum() > 0.01}


@pytest.mark.parametrize("share", [0.05, 0.5, 1.0])
def test_min_p_keeps_what_is_not_much_less_likely_than_the_most_likely_token(share: float) -> None:
    p = probabilities(logits(6))
    likely = set(np.flatnonzero(p >= share * p.max() * (1 - 1e-5)).tolist())
    seen = drawn(logits(6), min_p=share)
    assert seen <= likely
    assert seen >= {token for token in likely if p[token] / p[list(likely)].sum() > 0.01}


def test_draws_follow_the_distribution_and_the_temperature_sharpens_it() -> None:
    given = mx.array(np.log([[0.6, 0.3, 0.1]]))
    for temperature in (1.0, 0.5):
        rows = [Row(temperature=temperature, seed=seed) for seed in range(4000)]
        tokens = chosen(rows, mx.broadcast_to(given, (len(rows), 3)))
        expected = np.array([0.6, 0.3, 0.1]) ** (1 / temperature)
        found = np.bincount(tokens, minlength=3) / len(tokens)
        assert np.abs(found - expected / expected.sum()).max() < 0.03


def test_a_row_goes_on_in_its_own_stream_when_the_batch_changes() -> None:
    """Its tokens depend on its seed and its positions only, whatever runs beside it."""
    given = [logits(seed, 2) for seed in range(8)]
    alone, sampler = Row(temperature=1.0, seed=7), BatchSampler()
    expected = [sampler([alone], mx.zeros((1,)), step[:1])[0].item() for step in given]
    row, other, sampler = Row(temperature=1.0, seed=7), Row(temperature=1.0), BatchSampler()
    found = []
    for index, step in enumerate(given):
        rows = [row, other] if index % 3 else [row]
        found.append(sampler(rows, mx.zeros((len(rows),)), step[: len(rows)])[0][0].item())
    assert found == expected
    assert row.position == len(given)


def test_what_is_chosen_ahead_is_what_the_row_then_chooses() -> None:
    steps = mx.concatenate([logits(seed) for seed in range(5)])
    for row in (Row(temperature=0.9, seed=3, top_p=0.8, top_k=9), Row()):
        ahead = choose_at([row] * len(steps[1:]), range(1, len(steps)), steps[1:]).tolist()
        sampler = BatchSampler()
        one_by_one = [sampler([row], mx.zeros((1,)), steps[i : i + 1])[0].item() for i in range(5)]
        assert ahead == one_by_one[1:]


@pytest.mark.parametrize("count", [0, 2])
def test_log_probabilities_are_those_before_penalties_and_filters(count: int) -> None:
    given = logits(8)
    row = Row(temperature=1.0, seed=1, top_k=1, logit_bias={5: 100.0}, logprobs=count)
    tokens, (report,) = BatchSampler()([row], mx.zeros((1,)), given)
    assert tokens.tolist() == [5]
    assert report is not None
    expected = np.log(probabilities(given))
    assert abs(report.logprob.item() - expected[5]) < 1e-5
    assert report.ids.tolist() == np.argsort(-expected)[:count].tolist()
    assert np.allclose(np.array(report.values), np.sort(expected)[::-1][:count], atol=1e-5)
    assert abs(report.entropy.item() + (np.exp(expected) * expected).sum()) < 1e-4
    assert not report.forced


def test_the_entropy_is_that_of_what_a_model_leaves_possible() -> None:
    given = mx.array([[0.0, 0.0, -mx.inf, -mx.inf]])
    row = Row(logprobs=0)
    _, (report,) = BatchSampler()([row], mx.zeros((1,)), given, {0: 1})
    assert report is not None
    assert abs(report.entropy.item() - np.log(2)) < 1e-6
    assert report.forced


def test_a_rows_settings_are_the_requests_then_the_models_then_ours() -> None:
    row = make_row(protocol.Sampling(top_p=0.5), {"temperature": 0.2, "top_p": 0.9}, [1, 2])
    assert (row.top_p, row.temperature, row.top_k) == (0.5, 0.2, 0)
    assert row.prompt == []  # no penalty counts it


def test_the_rows_of_a_request_have_streams_of_their_own() -> None:
    sampling = protocol.Sampling(seed=2**64 - 1)
    seeds = {make_row(sampling, {}, [], index).seed for index in range(100)}
    assert len(seeds) == 100
    assert all(0 <= seed < 2**64 for seed in seeds)


@pytest.mark.parametrize("mass", [0.1, 0.5, 0.9])
def test_typical_p_keeps_what_is_about_as_likely_as_expected(mass: float) -> None:
    given = logits(1)
    p = np.exp(np.array(given[0]) - np.logaddexp.reduce(np.array(given[0])))
    distance = np.abs(-np.log(p) + (p * np.log(p)).sum())
    order = np.argsort(distance)
    count = int((np.cumsum(p[order]) < mass).sum()) + 1
    kept = set(order[:count].tolist())
    seen = drawn(given, typical_p=mass)
    assert seen <= kept
    # Those that are likely enough to be seen in so many draws.
    assert seen >= {token for token in kept if p[token] / p[list(kept)].sum() > 0.01}


def test_typical_p_leaves_something_of_what_other_filters_left() -> None:
    given = logits(2)
    assert drawn(given, typical_p=0.01, top_k=1) == {int(mx.argmax(given).item())}


def test_xtc_drops_all_likely_tokens_but_the_least_likely_of_them() -> None:
    p = np.full(WIDTH, 0.001)
    p[[3, 7, 9]] = 0.5, 0.3, 0.16
    given = mx.array(np.log(p)[None])
    seen = drawn(given, xtc_probability=1.0, xtc_threshold=0.1)
    assert 9 in seen
    assert not {3, 7} & seen
    assert drawn(given, xtc_probability=1.0, xtc_threshold=0.4) >= {3, 7, 9}


def test_xtc_strikes_as_often_as_its_probability_says() -> None:
    p = np.full(WIDTH, 1e-9)
    p[[3, 7]] = 0.999, 0.5
    given = mx.array(np.log(p)[None])
    rows = [
        Row(temperature=0.01, seed=seed, xtc_probability=0.3, xtc_threshold=0.2)
        for seed in range(2000)
    ]
    tokens = chosen(rows, mx.broadcast_to(given, (len(rows), WIDTH)))
    assert set(tokens) == {3, 7}
    assert 0.25 < tokens.count(7) / len(tokens) < 0.35


def test_a_row_chooses_the_same_alone_and_beside_others() -> None:
    rows = [
        Row(temperature=1.0, seed=1, typical_p=0.4),
        Row(temperature=1.0, seed=2, xtc_probability=0.5),
        Row(temperature=1.0, seed=3, typical_p=0.6, xtc_probability=0.9, top_p=0.8),
        Row(temperature=1.0, seed=4),
        Row(),
        Row(temperature=1.0, seed=5, allowed=[1, 2, 3]),
    ]
    given = logits(3, len(rows))
    alone = [chosen([row], given[i : i + 1])[0] for i, row in enumerate(rows)]
    assert chosen(rows, given) == alone
    assert alone[5] in {1, 2, 3}


@pytest.mark.parametrize("window", [0, 1, 3, 50])
def test_penalties_count_a_window_of_prompt_and_answer(window: int) -> None:
    prompt = [7, 1, 2, 2]
    sampling = protocol.Sampling(
        temperature=0,
        repetition_penalty=1.5,
        presence_penalty=0.6,
        frequency_penalty=0.4,
        repeat_last_n=window,
    )
    row, sampler = make_row(sampling, {}, prompt), BatchSampler()
    said = list(prompt)
    for step in range(12):
        given = logits(100 + step)
        (token,), _ = sampler([row], mx.array([said[-1]]), given)
        line = np.array(given[0])
        counts = np.bincount(said[-window:] if window else [], minlength=WIDTH)
        seen = counts > 0
        line = np.where(seen, np.where(line < 0, line * 1.5, line / 1.5), line)
        line = line - 0.4 * counts - 0.6 * seen
        assert token.item() == int(line.argmax()), step
        said.append(int(token.item()))


@pytest.mark.parametrize(
    "options",
    [
        {"typical_p": 0.5},
        {"xtc_probability": 0.7, "xtc_threshold": 0.05},
        {"repetition_penalty": 3.0, "repeat_last_n": 4},
        {"allowed_token_ids": [10, 20, 30, 40, 50, 60]},
        {"bad_words": ["a", "th"], "allowed_token_ids": LETTERS},
    ],
    ids=["typical", "xtc", "window", "allowed", "bad words"],
)
def test_a_seed_gives_the_same_text_alone_and_in_a_batch(
    engine: EngineProcess, model: Path, options: dict[str, Any]
) -> None:
    alone = ask(engine, model, "seeded", seed=5, **HOT, **options)
    assert alone != ask(engine, model, "seeded", seed=5, **HOT)
    mixed = [engine.start("random", model, "seeded", seed=5, **HOT, **options)]
    mixed += [engine.start("random", model, f"other {i}", seed=i, **HOT) for i in range(5)]
    engine.finish(*mixed)
    assert everything(engine, mixed[0]) == alone


def test_only_allowed_tokens_are_chosen(engine: EngineProcess, model: Path) -> None:
    letters = {ord(letter) - 33: letter for letter in "ABC"}
    text = ask(engine, model, "choose", seed=1, allowed_token_ids=[*letters], **HOT)
    assert len(text) == 40
    assert set(text) <= set("ABC")


def test_a_bad_word_is_never_completed(engine: EngineProcess, model: Path) -> None:
    plain = ask(engine, model, "words", **GREEDY)
    word = plain[4:7]
    text = ask(engine, model, "words", bad_words=[word], **GREEDY)
    assert word not in text
    # Its beginning may be said.
    assert text.startswith(plain[: plain.index(word) + 2])


def test_a_stop_token_ends_the_answer_and_is_not_shown(engine: EngineProcess, model: Path) -> None:
    plain = ask(engine, model, "stop at", **GREEDY)
    letter = plain[5]
    request = engine.start("random", model, "stop at", stop_token_ids=[ord(letter) - 33], **GREEDY)
    engine.finish(request)
    assert everything(engine, request) == plain[: plain.index(letter)]
    assert engine.reason(request) == "stop"
    # Not before the least number of tokens has come.
    more = {"stop_token_ids": [ord(letter) - 33], "min_tokens": 25}
    assert letter not in ask(engine, model, "stop at", **GREEDY, **more)[:25]


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"stop_token_ids": [99999]}, "stop_token_ids"),
        ({"allowed_token_ids": [99999]}, "allowed_token_ids"),
        ({"allowed_token_ids": [258], "min_tokens": 3}, "allowed_token_ids"),
        ({"allowed_token_ids": [32], "bad_words": ["A"]}, "allowed_token_ids"),
        ({"bad_words": ["fine", "  "]}, "bad_words[1]"),
    ],
)
def test_what_cannot_be_is_refused(
    engine: EngineProcess, model: Path, options: dict[str, Any], param: str
) -> None:
    (end,) = engine.finish(engine.start("random", model, "no", max_tokens=3, **options))
    assert isinstance(end, protocol.Failed)
    assert (end.code, end.param) == ("invalid_request", param)


class _Only:
    """A constraint that allows one token."""

    def __init__(self, token: int) -> None:
        self._token = token
        self.seen: list[int] = []

    def advance(self, token: int) -> None:
        self.seen.append(token)

    def fill(self, mask: np.ndarray[Any, np.dtype[np.uint32]]) -> bool:
        mask[:] = 0
        mask[self._token // 32] = 1 << (self._token % 32)
        return True

    def forced(self) -> list[int]:
        return [self._token]

    def copy(self) -> "_Only":
        return _Only(self._token)


def allowed(constraint: BadWords) -> set[int]:
    mask = np.full((words(WIDTH),), 0xFFFFFFFF, np.uint32)
    constraint.fill(mask)
    return {token for token in range(WIDTH) if mask[token // 32] >> (token % 32) & 1}


def test_bad_words_forbid_a_last_token_after_the_others_only() -> None:
    constraint = BadWords([[1, 2, 3], [7]], None)
    assert allowed(constraint) == {*range(WIDTH)} - {7}
    for token in (1, 2):
        constraint.advance(token)
    assert allowed(constraint) == {*range(WIDTH)} - {3, 7}
    constraint.advance(5)
    assert allowed(constraint) == {*range(WIDTH)} - {7}


def test_a_grammar_that_allows_nothing_else_wins_over_bad_words() -> None:
    inner = _Only(7)
    constraint = BadWords([[7], [8]], inner)
    assert allowed(constraint) == {7}
    constraint.advance(7)
    assert inner.seen == [7]
