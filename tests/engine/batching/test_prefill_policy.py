"""Which prompts are computed together, how many tokens at a time, and in which order."""

import pytest

from mlx_notebook.engine.batching.prefill_policy import (
    MOST_TOKENS,
    PrefillLimits,
    PrefillPolicy,
    PrefillSpeed,
)


def policy(speed: float = 8000, **limits: float) -> PrefillPolicy:
    return PrefillPolicy(PrefillLimits(**limits), PrefillSpeed(speed))  # type: ignore[arg-type]


def test_prompts_of_similar_length_begin_together_as_far_as_time_allows() -> None:
    # A quarter of a second at 16,000 tokens a second are 4,000 tokens; and eight are always small.
    assert policy(16000).begin([200] * 32, decoding=False) == list(range(20))
    assert policy(16000, pause=0.5).begin([200] * 64, decoding=True) == list(range(30))
    assert policy(100).begin([200] * 32, decoding=False) == list(range(8))
    assert policy(1000).begin([1000] * 3, decoding=False) == [0]


def test_a_long_prompt_does_not_pad_short_ones() -> None:
    assert policy(1e6).begin([200, 5000, 190, 40], decoding=False) == [0, 2]
    assert policy(1e6).begin([5000, 200, 4000], decoding=False) == [0, 2]


def test_a_group_is_never_larger_than_a_chunk_may_be() -> None:
    chosen = policy(1e9, rows=64).begin([1000] * 64, decoding=True)
    assert len(chosen) == MOST_TOKENS // 1000


def test_where_shapes_cost_groups_and_chunks_have_few_sizes() -> None:
    padded = policy(1e6, rounding=True).padded
    assert [padded(rows, 1)[0] for rows in (1, 2, 5, 17, 32, 40)] == [1, 4, 8, 32, 32, 40]
    assert [padded(1, n)[1] for n in (1, 33, 200, 500, 513, 1100)] == [32, 64, 256, 512, 1024, 1536]
    assert policy().padded(3, 33) == (3, 33)
    assert len(policy(1e9, rows=64, rounding=True).begin([50] * 64, decoding=False)) == 32
    assert len(policy(1e9, rows=64).begin([50] * 64, decoding=False)) == 64


def test_a_chunk_takes_the_time_that_others_may_wait() -> None:
    # Three quarters of it, since the speed varies.
    plain = policy(2000, pause=0.1, idle_pause=1.0, chunk=4096)
    assert plain.chunk(1, decoding=False) == 2000
    assert plain.chunk(1, decoding=True) == 150
    assert plain.chunk(2, decoding=True) == 75
    assert plain.chunk(32, decoding=True) == 16


def test_where_a_step_takes_long_a_chunk_may_take_three_of_them() -> None:
    plain = policy(2000, pause=0.5, idle_pause=1.0, chunk=4096)
    lengths = [
        plain.chunk(1, decoding=True, step_seconds=step) for step in (0.1, 0.125, 0.2, 0.25, 2.0)
    ]
    assert lengths == [750, 750, 1200, 1500, 2000]
    assert plain.chunk(1, decoding=False, step_seconds=0.2) == 2000
    assert plain.chunk(1, decoding=True, step_seconds=0.25, most_seconds=0.1) == 200


@pytest.mark.parametrize("chunk", [16, 64])
def test_a_chunk_is_never_longer_than_its_limit(chunk: int) -> None:
    assert policy(1e6, chunk=chunk).chunk(1, decoding=False) == chunk


def test_rows_that_have_just_begun_are_a_burst_with_short_prompts() -> None:
    plain = policy()
    assert plain.gathers([0, 16], [200])
    assert not plain.gathers([], [200])
    assert not plain.gathers([1, 3], [])
    assert not plain.gathers([1, 17], [200])  # one was there before
    assert not plain.gathers([1, 3], [200, 513])


def test_a_prompt_that_came_alone_waits_for_a_hundredth_of_its_time() -> None:
    assert policy(100_000).wait_seconds(200) == pytest.approx(0.000_02)
    assert policy(1000).wait_seconds(200) == pytest.approx(0.002)
    assert policy(100).wait_seconds(200) == pytest.approx(0.005)
    assert policy(100).wait_seconds(513) == 0.0


def test_the_speed_is_measured_and_one_slow_chunk_changes_little() -> None:
    speed = PrefillSpeed(100)
    assert speed.tokens_in(1) == 100
    for seconds in (0.1, 0.1, 9.0, 0.1, 0.1):
        speed.add(512, seconds)
    assert speed.tokens_in(1) == 5120
    speed.add(8, 1.0)  # too few tokens to say anything
    assert speed.tokens_in(1) == 5120
    for _ in range(3):
        speed.add(512, 1.0)
    assert speed.tokens_in(1) == 512


def test_the_group_with_the_least_left_comes_first_and_none_waits_for_ever() -> None:
    order = policy()
    assert order.turn([], [100]) is None
    assert order.turn([(16000, 0.1), (200, 0.1)], []) == 1
    assert order.turn([(16000, 0.1)], [200]) is None
    assert order.turn([(100, 0.1)], [200]) == 0
    assert order.turn([(16000, 2.5), (200, 0.1)], [50]) == 0


def test_a_short_prompt_does_not_wait_for_the_long_ones_before_it() -> None:
    order = policy()
    assert order.turn([(16000, 0.1)], [16000, 200]) is None  # the second long one begins
    assert order.turn([(16000, 0.1), (14000, 0.1)], [200]) is None  # and then the short one
    assert order.turn([(16000, 0.1)], [16000, 17000]) == 0
    assert order.turn([(16000, 0.1)] * 4, [16000, 200]) == 0
