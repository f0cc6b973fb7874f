"""What the prefix cache finds, what it keeps, and what it says about a prompt that has changed."""

from typing import Any

import mlx.core as mx
import pytest
from mlx_lm.models.cache import ArraysCache, KVCache, RotatingKVCache

from mlx_notebook.engine.kv_cache.checkpoints import make_checkpoint
from mlx_notebook.engine.kv_cache.prefix_cache import PrefixCache
from mlx_notebook.engine.prompts.shared_prefix import SharedPrefix

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
            assert prefixes.fetch("model", asked).length
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
            assert prefixes.fetch("model", [*SYSTEM, 1, 9, 9]).length == len(SYSTEM)
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
    assert prefixes.fetch("model", [*SYSTEM, 1], "bob").layers is None


# --- a system prompt that conversations share ------------------------------------------------


def filled(layer: Any, tokens: list[int]) -> Any:
    """A layer that holds the numbers of its tokens; a recurrent one, their sum."""
    numbers = mx.array(tokens, mx.float32).reshape(1, 1, -1, 1)
    if isinstance(layer, ArraysCache):
        layer[0] = mx.sum(numbers).reshape(1, 1)
    elif numbers.size:
        layer.update_and_fetch(numbers, numbers)
    return layer


def attention(tokens: list[int]) -> list[Any]:
    return [filled(KVCache(), tokens)]


def hybrid(tokens: list[int]) -> list[Any]:
    return [filled(KVCache(), tokens), filled(ArraysCache(1), tokens)]


def window(tokens: list[int]) -> list[Any]:
    return [filled(RotatingKVCache(8), tokens), filled(KVCache(), tokens)]


def finish(prefixes: PrefixCache, tokens: list[int], make: Any) -> None:
    """Keep a conversation as the engine does; its system prompt is a border."""
    held = len(SYSTEM)
    checkpoints = {held: make_checkpoint(make(tokens[:held]))} if make is not attention else {}
    prefixes.keep("model", tokens, make(tokens), checkpoints=checkpoints)


def assert_same(found: list[Any], expected: list[Any]) -> None:
    """Compare what is in two KV caches, without unused capacity."""
    for one, other in zip(found, expected, strict=True):
        if isinstance(one, ArraysCache):
            assert mx.array_equal(one[0], other[0])
        else:
            assert one.offset == other.offset
            assert mx.array_equal(one.keys_and_values()[0], other.keys_and_values()[0])


LIMITS = [{"max_entries": 16, "max_bytes": 2**30}, {"max_entries": 64, "max_bytes": 20_000}]


@pytest.mark.parametrize("limits", LIMITS, ids=["entries", "bytes"])
@pytest.mark.parametrize("make", [attention, hybrid, window])
def test_a_shared_system_prompt_outlives_a_hundred_conversations_that_do_not_use_it(
    make: Any, limits: dict[str, int]
) -> None:
    prefixes = PrefixCache(**limits)
    for user in (1, 2):
        prompt = [*SYSTEM, user, 50]
        prefixes.fetch("model", prompt, opening=len(SYSTEM) + 1)
        finish(prefixes, [*prompt, 60, 61], make)
    for other in range(100):
        prompt = [other + 100] * 60
        prefixes.fetch("model", prompt, opening=50)
        finish(prefixes, prompt, make)
    assert prefixes.nbytes <= limits["max_bytes"]
    hit = prefixes.fetch("model", [*SYSTEM, 3, 50], opening=len(SYSTEM) + 1)
    assert hit.length == len(SYSTEM)
    assert hit.layers is not None
    assert_same(hit.layers, make(SYSTEM))


@pytest.mark.parametrize("make", [attention, hybrid])
def test_a_shared_system_prompt_outlives_the_conversations_that_use_it(make: Any) -> None:
    prefixes = PrefixCache(max_entries=4, max_bytes=2**30)
    for user in range(100):
        prompt = [*SYSTEM, user, 50]
        hit = prefixes.fetch("model", prompt, opening=len(SYSTEM) + 1)
        assert hit.length == (len(SYSTEM) if user else 0)
        finish(prefixes, [*prompt, 60 + user, 61], make)
        # A second turn continues the conversation and takes its place.
        finish(prefixes, [*prompt, 60 + user, 61, 70, 71], make)


def test_a_conversation_of_one_user_is_not_kept_longer_than_others(prefixes: PrefixCache) -> None:
    opening = len(SYSTEM) + 1
    turn = [*SYSTEM, 1, 50]
    prefixes.fetch("model", turn, opening=opening)
    keep(prefixes, [*turn, 60, 61])
    # Its next turn writes the answer in another way, after the first message.
    again = [*turn, 62, 51]
    assert prefixes.fetch("model", again, opening=opening).length == len(turn)
    keep(prefixes, [*again, 63])
    for other in range(16):
        keep(prefixes, [other] * 20)
    assert prefixes.covered("model", again) == 0


def test_common_beginnings_leave_half_of_the_room_to_others(prefixes: PrefixCache) -> None:
    for number in range(40):
        for user in (1, 2):
            prompt = [number + 500, *SYSTEM, user]
            prefixes.fetch("model", prompt)
            keep(prefixes, [*prompt, 60])
    for other in range(8):
        keep(prefixes, [other] * 20)
    assert all(prefixes.covered("model", [other] * 21) == 20 for other in range(8))
    known = [number for number in range(40) if prefixes.covered("model", [number + 500, *SYSTEM])]
    assert known == list(range(32, 40))


# --- caches that cannot be cut ---------------------------------------------------------------


@pytest.mark.parametrize("make", [hybrid, window])
def test_a_conversation_that_grows_keeps_its_checkpoints_in_one_entry(make: Any) -> None:
    prefixes = PrefixCache(max_entries=16, max_bytes=2**30)
    tokens = [*SYSTEM, 1]
    for turn in range(5):
        finish(prefixes, tokens, make)
        tokens = [*tokens, 100 + turn, 200 + turn]
    for length in (len(SYSTEM), len(SYSTEM) + 1, len(SYSTEM) + 5):
        hit = prefixes.fetch("model", [*tokens[:length], 9, 9])
        assert hit.length == length
        assert hit.layers is not None
        assert_same(hit.layers, make(tokens[:length]))
    # A cache that is used does not change what is kept.
    filled(hit.layers[0], [7])
    again = prefixes.fetch("model", [*tokens[: len(SYSTEM)], 9, 9])
    assert again.layers is not None
    assert_same(again.layers, make(SYSTEM))


def test_a_long_conversation_keeps_its_first_and_its_last_checkpoints() -> None:
    prefixes = PrefixCache(max_entries=16, max_bytes=2**30)
    tokens = list(range(1000))
    lengths = range(50, 1000, 50)
    checkpoints = {length: make_checkpoint(hybrid(tokens[:length])) for length in lengths}
    prefixes.keep("model", tokens, hybrid(tokens), checkpoints=checkpoints)
    found = {prefixes.covered("model", [*tokens[:length], -1, -1]) for length in lengths}
    assert len(found) == 8
    assert {50, 900, 950} <= found


def test_checkpoints_take_no_more_memory_than_the_cache_itself() -> None:
    prefixes = PrefixCache(max_entries=16, max_bytes=2**30)
    tokens = list(range(100))

    def large(tokens: list[int]) -> list[Any]:
        return [*attention(tokens), filled(RotatingKVCache(64), tokens)]

    lengths = range(70, 100, 5)
    checkpoints = {length: make_checkpoint(large(tokens[:length])) for length in lengths}
    prefixes.keep("model", tokens, large(tokens), checkpoints=checkpoints)
    found = {prefixes.covered("model", [*tokens[:length], -1, -1]) for length in lengths}
    held = sum(layer.nbytes for layer in large(tokens))
    assert {70, 90, 95} <= found
    assert len(found) < len(lengths)
    assert prefixes.nbytes <= 2 * held


def test_a_checkpoint_costs_only_the_layers_that_cannot_be_cut() -> None:
    prefixes = PrefixCache(max_entries=16, max_bytes=2**30)
    tokens = list(range(1000))
    prefixes.keep("model", tokens, hybrid(tokens))
    without = prefixes.nbytes
    checkpoint = make_checkpoint(hybrid(tokens[:900]))
    prefixes.keep("model", tokens, hybrid(tokens), checkpoints={900: checkpoint})
    assert prefixes.nbytes - without == checkpoint.nbytes == 4


# --- a prompt that has changed ---------------------------------------------------------------


def test_a_prompt_that_leaves_a_cached_one_says_where(prefixes: PrefixCache) -> None:
    assert prefixes.fetch("model", [*SYSTEM, 1]).broken is None
    keep(prefixes, [*SYSTEM, 1, 2, 3])
    broken = prefixes.fetch("model", [*SYSTEM, 1, 9, 9]).broken
    assert broken is not None
    assert (broken.at, broken.was) == (len(SYSTEM) + 1, [2, 3])


def test_a_prompt_that_continues_a_cached_one_leaves_nothing(prefixes: PrefixCache) -> None:
    keep(prefixes, [*SYSTEM, 1, 2, 3])
    assert prefixes.fetch("model", [*SYSTEM, 1, 2, 3, 4, 5]).broken is None
    assert prefixes.fetch("model", [*SYSTEM, 1]).broken is None


def test_users_share_a_declared_beginning_and_nothing_behind_it(prefixes: PrefixCache) -> None:
    shared = SharedPrefix("class", len(SYSTEM))
    secret = [*SYSTEM, 1, 2, 3, 4]
    prefixes.keep("model", secret, cache_of(secret), "ann", shared=shared)
    hit = prefixes.fetch("model", [*secret, 5], "bob", shared=shared)
    assert hit.length == len(SYSTEM) == prefixes.covered("model", secret, "bob", shared)
    assert hit.layers is not None
    assert hit.layers[0].offset == len(SYSTEM)
    # Where the other's prompt goes on is not told either.
    assert hit.broken is None
    assert prefixes.fetch("model", [*secret, 5], "bob").length == 0
    assert prefixes.fetch("model", [*secret, 5], "ann", shared=shared).length == len(secret)
    other = SharedPrefix("staff", len(SYSTEM))
    assert prefixes.fetch("model", [*secret, 5], "bob", shared=other).length == 0


def test_a_shared_beginning_is_kept_once(prefixes: PrefixCache) -> None:
    shared = SharedPrefix("class", len(SYSTEM))
    for number in range(3):
        tokens = [*SYSTEM, number, 2, 3]
        prefixes.keep("model", tokens, cache_of(tokens), f"user {number}", shared=shared)
    assert [entry.salt for entry in prefixes._models["model"]].count("class") == 1


def test_where_caches_cannot_be_cut_the_beginning_is_shared_from_a_checkpoint() -> None:
    prefixes = PrefixCache(max_entries=16, max_bytes=2**30)
    shared = SharedPrefix("class", len(SYSTEM))
    secret = [*SYSTEM, 1, 2, 3]
    prefixes.keep("model", secret, hybrid(secret), "ann", shared=shared)
    assert prefixes.covered("model", [*secret, 4], "bob", shared) == 0
    checkpoints = {len(SYSTEM): make_checkpoint(hybrid(SYSTEM))}
    prefixes.keep("model", secret, hybrid(secret), "cem", checkpoints, shared)
    hit = prefixes.fetch("model", [*secret, 4], "bob", shared=shared)
    assert hit.length == len(SYSTEM)
    assert hit.layers is not None
    assert_same(hit.layers, hybrid(SYSTEM))


def kept(prefixes: PrefixCache, salt: str) -> int:
    return sum(entry.salt == salt for entry in prefixes._models["model"])


def test_a_user_with_many_prompts_evicts_their_own_first() -> None:
    prefixes = PrefixCache(max_entries=8, max_bytes=2**30)
    for number in range(3):
        tokens = [*SYSTEM, number]
        prefixes.keep("model", tokens, cache_of(tokens), "ann")
    for number in range(100):
        tokens = [number] * 20
        prefixes.keep("model", tokens, cache_of(tokens), "greedy")
    assert (kept(prefixes, "ann"), kept(prefixes, "greedy")) == (3, 5)
    for number in range(10):
        tokens = [500 + number] * 20
        prefixes.keep("model", tokens, cache_of(tokens), "bob")
    assert min(kept(prefixes, user) for user in ("ann", "bob", "greedy")) >= 2


def test_a_user_with_long_prompts_evicts_their_own_first() -> None:
    small, large = [*SYSTEM, 1], list(range(2000))
    nbytes = sum(layer.nbytes for layer in cache_of(large))
    prefixes = PrefixCache(max_entries=100, max_bytes=int(2.5 * nbytes))
    prefixes.keep("model", small, cache_of(small), "ann")
    for number in range(5):
        tokens = [number, *large[1:]]
        prefixes.keep("model", tokens, cache_of(tokens), "greedy")
    assert (kept(prefixes, "ann"), kept(prefixes, "greedy")) == (1, 2)
