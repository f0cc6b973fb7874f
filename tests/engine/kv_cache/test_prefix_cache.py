import mlx.core as mx
import pytest
from mlx_lm.models.cache import ArraysCache, KVCache

from mlx_notebook.engine.kv_cache.prefix_cache import PrefixCache

SYSTEM = list(range(1000, 1040))


def cache_of(tokens: list[int]) -> list[KVCache]:
    layer = KVCache()
    layer.update_and_fetch(mx.ones((1, 1, len(tokens), 4)), mx.ones((1, 1, len(tokens), 4)))
    return [layer]


@pytest.fixture
def prefixes() -> PrefixCache:
    return PrefixCache(max_entries=16, max_bytes=2**30)


def keep(prefixes: PrefixCache, tokens: list[int]) -> None:
    prefixes.keep("model", tokens, cache_of(tokens))


@pytest.mark.parametrize(
    "asked",
    [[*SYSTEM, 1, 2, 3], [*SYSTEM, 9], [*SYSTEM[:30], 9]],
    ids=["the whole of it", "its beginning and more", "a part of its beginning"],
)
def test_a_prompt_that_is_used_outlives_a_hundred_others(
    prefixes: PrefixCache, asked: list[int]
) -> None:
    keep(prefixes, [*SYSTEM, 1, 2])
    for other in range(100):
        keep(prefixes, [other] * 20)
        if other % 10 == 0:
            assert prefixes.fetch("model", asked)[0] is not None
    assert prefixes.covered("model", [*SYSTEM, 1, 2, 3]) == len(SYSTEM) + 2


def test_where_caches_cannot_be_trimmed_the_beginning_that_is_used_stays(
    prefixes: PrefixCache,
) -> None:
    def state() -> list[ArraysCache]:
        layer = ArraysCache(1)
        layer[0] = mx.ones((1, 4))
        return [layer]

    prefixes.keep("model", SYSTEM, state())
    prefixes.keep("model", [*SYSTEM, 1, 2, 3], state())
    for other in range(100):
        prefixes.keep("model", [other] * 20, state())
        if other % 10 == 0:
            # It agrees further with the longer one, which is of no use to it.
            cache, rest = prefixes.fetch("model", [*SYSTEM, 1, 9, 9])
            assert cache is not None
            assert rest == [1, 9, 9]
    assert prefixes.covered("model", [*SYSTEM, 7, 7]) == len(SYSTEM)


def test_a_prompt_that_is_not_used_makes_room(prefixes: PrefixCache) -> None:
    keep(prefixes, [*SYSTEM, 1, 2])
    for other in range(16):
        keep(prefixes, [other] * 20)
    assert prefixes.covered("model", [*SYSTEM, 1, 2, 3]) == 0


def test_prompts_with_different_salts_never_meet(prefixes: PrefixCache) -> None:
    prefixes.keep("model", SYSTEM, cache_of(SYSTEM), "ann")
    assert prefixes.covered("model", [*SYSTEM, 1], "ann") == len(SYSTEM)
    assert prefixes.covered("model", [*SYSTEM, 1], "bob") == 0
    assert prefixes.fetch("model", [*SYSTEM, 1], "bob")[0] is None
