"""What is likely to come back survives the engine: its death, its end, and a model's unloading."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx_lm.models.cache import ArraysCache, KVCache

from mlx_notebook import protocol
from mlx_notebook.engine.kv_cache.checkpoints import make_checkpoint
from mlx_notebook.engine.kv_cache.disk.block_names import BLOCK
from mlx_notebook.engine.kv_cache.disk.disk_cache import WRITE_PINNED, DiskPrefixCache, WritePace
from mlx_notebook.engine.kv_cache.disk.disk_store import DiskStore
from mlx_notebook.engine.kv_cache.disk.write_limit import WriteLimit
from mlx_notebook.engine.kv_cache.prefix_cache import PrefixCache
from tests.engine.process import EngineProcess, running
from tests.tiny_models.models import gemma3, lfm2, qwen3, qwen35

LONG = "You are a careful assistant. " * 40
QUESTION = [{"role": "system", "content": LONG}, {"role": "user", "content": "Who are you?"}]
OTHER = [{"role": "system", "content": LONG}, {"role": "user", "content": "What is this?"}]


def settings(folder: Path) -> dict[str, Any]:
    return {"prefix_disk_path": str(folder / "prefixes"), "prefix_disk_bytes": 10**9}


def answer(
    engine: EngineProcess, model: Path, messages: list[dict[str, Any]], **options: Any
) -> tuple[str, protocol.Usage]:
    """The greedy answer."""
    prompt = protocol.ChatPrompt(messages=messages)
    asked = {"max_tokens": 24, "temperature": 0.0, "ignore_eos": True, **options}
    request = engine.start("random", model, prompt, **asked)
    (end,) = engine.finish(request)
    assert isinstance(end, protocol.Done), end
    return engine.text(request), end.usage


def blocks(folder: Path) -> list[Path]:
    return list((folder / "prefixes").rglob("*.kv"))


def until_written(folder: Path, count: int) -> None:
    """Wait for the engine's writer, which nobody else waits for."""
    end = time.monotonic() + 20
    while len(blocks(folder)) < count:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_what_two_prompts_share_survives_a_killed_engine_and_gives_the_same_text(
    model: Path, tmp_path: Path
) -> None:
    with running() as engine:
        cold = [answer(engine, model, messages)[0] for messages in (QUESTION, OTHER)]
    with running(**settings(tmp_path)) as engine:
        text, usage = answer(engine, model, QUESTION)
        assert (text, usage.cached) == (cold[0], 0)
        text, usage = answer(engine, model, OTHER)
        assert text == cold[1]
        until_written(tmp_path, usage.cached // BLOCK)
        engine.process.kill()
    assert len(blocks(tmp_path)) == usage.cached // BLOCK  # nothing else was written
    with running(**settings(tmp_path)) as engine:
        text, usage = answer(engine, model, OTHER)
        assert text == cold[1]
        assert usage.prompt - 2 * BLOCK < usage.cached < usage.prompt
        assert usage.cached % BLOCK == 0
        text, usage = answer(engine, model, QUESTION)
        assert text == cold[0]


def test_a_damaged_file_only_costs_the_computing(model: Path, tmp_path: Path) -> None:
    with running(**settings(tmp_path)) as engine:
        cold, _ = answer(engine, model, QUESTION)
        assert engine.stop() == 0
    newest = sorted(blocks(tmp_path), key=lambda file: -file.stat().st_mtime_ns)
    newest[1].write_bytes(newest[1].read_bytes()[:-1])
    with running(**settings(tmp_path)) as engine:
        text, usage = answer(engine, model, QUESTION)
        assert (text, usage.cached) == (cold, BLOCK)


def test_a_conversation_is_kept_when_its_model_is_unloaded_and_when_the_engine_ends(
    model: Path, tmp_path: Path
) -> None:
    short = [{"role": "user", "content": "word " * 40}]
    first = EngineProcess(**settings(tmp_path))
    cold, usage = answer(first, model, short)
    assert usage.prompt < 512
    assert not blocks(tmp_path)  # not every turn
    first.send(protocol.Unload(id="u", model="random"))
    first.wait(lambda e: isinstance(e, protocol.Unloaded))
    text, usage = answer(first, model, short)
    assert (text, usage.cached) == (cold, BLOCK)
    longer = [{"role": "user", "content": "word " * 80}]
    cold, _ = answer(first, model, longer)
    assert first.stop() == 0
    with running(**settings(tmp_path)) as second:
        text, usage = answer(second, model, longer)
        assert (text, usage.cached) == (cold, 3 * BLOCK)


def test_what_memory_has_no_room_for_is_on_disk_from_its_second_time_on(
    model: Path, tmp_path: Path
) -> None:
    with running(prefix_cache_entries=1, **settings(tmp_path)) as engine:
        one, two = ([{"role": "user", "content": word * 200}] for word in "ab")
        cold, _ = answer(engine, model, one)
        answer(engine, model, two)  # puts the first one out of memory
        _, usage = answer(engine, model, one)
        assert usage.cached < BLOCK
        until_written(tmp_path, 1)
        answer(engine, model, two)
        text, usage = answer(engine, model, one)
        assert (text, usage.cached) == (cold, BLOCK)


def test_the_prompts_of_a_pinned_model_are_written_at_once(model: Path, tmp_path: Path) -> None:
    with running(**settings(tmp_path)) as engine:
        engine.send(protocol.Load(id="l", model="random", path=str(model), pin=True))
        engine.wait(lambda e: isinstance(e, protocol.Loaded))
        _, usage = answer(engine, model, QUESTION)
        until_written(tmp_path, usage.prompt // BLOCK)
        engine.process.kill()


def test_the_engine_tells_what_it_wrote_and_what_its_limit_forbade(
    model: Path, tmp_path: Path
) -> None:
    with running(**settings(tmp_path)) as engine:
        answer(engine, model, QUESTION)
        _, usage = answer(engine, model, QUESTION)
        until_written(tmp_path, count := usage.prompt // BLOCK)
        written = sum(file.stat().st_size for file in blocks(tmp_path))
        wait_for_stats(engine, protocol.DiskWrites(0, written, 0, written, 0))
    limit = written // count * 2 + 1
    folder = tmp_path / "limited"
    with running(prefix_disk_hourly_bytes=limit, **settings(folder)) as engine:
        answer(engine, model, QUESTION)
        answer(engine, model, QUESTION)
        size = written // count
        wait_for_stats(engine, protocol.DiskWrites(limit, 2 * size, size, 2 * size, size))
    assert len(blocks(folder)) == 2


def wait_for_stats(engine: EngineProcess, disk: protocol.DiskWrites) -> None:
    end = time.monotonic() + 20
    while (now := engine.stats().disk) != disk:
        assert time.monotonic() < end, now


def test_changed_weights_find_nothing(tmp_path: Path) -> None:
    folder = qwen3(tmp_path / "model", seed=1)
    with running(**settings(tmp_path)) as engine:
        answer(engine, folder, QUESTION)
        assert engine.stop() == 0
    assert blocks(tmp_path)
    qwen3(folder, seed=2)
    with running() as engine:
        cold, _ = answer(engine, folder, QUESTION)
    with running(**settings(tmp_path)) as engine:
        text, usage = answer(engine, folder, QUESTION)
        assert (text, usage.cached) == (cold, 0)


@pytest.mark.parametrize("build", [gemma3, lfm2, qwen35])
def test_caches_that_cannot_be_cut_go_on_from_a_checkpoint_and_give_the_same_text(
    build: Any, tmp_path: Path
) -> None:
    folder = build(tmp_path / "model")
    reply = {"role": "assistant", "content": "I"}
    again = [*QUESTION, reply, {"role": "user", "content": "?"}]
    with running(prefix_cache_entries=0) as engine:
        cold = [answer(engine, folder, m, max_tokens=4) for m in (QUESTION, again, OTHER)]
        assert [usage.cached for _, usage in cold] == [0, 0, 0]
    first = EngineProcess(**settings(tmp_path))
    assert answer(first, folder, QUESTION, max_tokens=4) == cold[0]
    assert first.stop() == 0
    with running(**settings(tmp_path)) as engine:
        text, usage = answer(engine, folder, again, max_tokens=4)
        assert text == cold[1][0]
        # All but the end of the question, the reply, the new question and the beginning of an
        # answer: 2, 14, 9 and 11 tokens.
        assert usage.prompt - usage.cached == 36
        text, usage = answer(engine, folder, OTHER, max_tokens=4)
        assert text == cold[2][0]
        # The system prompt, which ends within a block.
        assert len(LONG) < usage.cached < usage.prompt - 20
        assert usage.cached % BLOCK


def test_requests_cancelled_while_their_prompt_is_read_leave_the_engine_idle(
    model: Path, tmp_path: Path
) -> None:
    with running(**settings(tmp_path)) as engine:
        answer(engine, model, QUESTION)
        assert engine.stop() == 0
    assert blocks(tmp_path)
    with running(**settings(tmp_path)) as engine:
        engine.send(protocol.Load(id="l", model="random", path=str(model)))
        engine.wait(lambda e: isinstance(e, protocol.Loaded))
        for delay in (0, 0.001, 0.002, 0.004, 0.008):
            request = engine.start(
                "random",
                model,
                protocol.ChatPrompt(messages=QUESTION),
                max_tokens=500,
                ignore_eos=True,
            )
            time.sleep(delay)
            engine.send(protocol.Cancel(request))
        end = time.monotonic() + 10
        while (stats := engine.stats()).requests or stats.resident[0].active:
            assert time.monotonic() < end


# --- what is written, without an engine -----------------------------------------------------------


class Prefixes:
    """A prefix cache with one model, and its folder on disk."""

    def __init__(self, folder: Path, entries: int = 16, limit: int = 0, pinned: bool = False):
        self.store = DiskStore(folder, 10**9)
        self.busy = threading.Event()
        self.disk = DiskPrefixCache(
            self.store, WriteLimit(limit), self.busy.is_set, pinned=lambda _: pinned
        )
        self.cache = PrefixCache(entries, 2**30, self.disk)
        self.cache.open("model", "identity", [KVCache()])

    def turn(self, prompt: list[int], answer: list[int], salt: str = "") -> None:
        """Take a prompt, as a worker does, and keep it with its answer, as a backend does."""
        self.cache.on_disk("model", prompt, salt)
        tokens = prompt + answer
        layer = KVCache()
        values = mx.array(tokens, mx.float32).reshape(1, 1, -1, 1)
        layer.update_and_fetch(values, -values)
        self.cache.keep("model", tokens, [layer], salt)

    def stored(self, tokens: list[int], salt: str = "") -> int:
        """How many blocks are on disk, once nothing waits to be written."""
        end = time.monotonic() + 20
        while self.disk.nbytes:
            assert time.monotonic() < end
            time.sleep(0.001)
        return self.store.find("identity", tokens, salt) // BLOCK


@pytest.fixture
def prefixes(tmp_path: Path) -> Iterator[Prefixes]:
    made = Prefixes(tmp_path)
    yield made
    made.disk.drain(20)


def words(count: int, first: int) -> list[int]:
    return list(range(first, first + count))


SYSTEM = words(3 * BLOCK, 0)


def test_a_prompt_that_came_once_is_not_written(prefixes: Prefixes) -> None:
    for number in range(1, 41):  # more than there are entries
        prompt = words(6 * BLOCK, 10_000 * number)
        prefixes.turn(prompt, [1])
        assert prefixes.stored(prompt) == 0


def test_the_beginning_that_two_prompts_share_is_written_and_no_more(prefixes: Prefixes) -> None:
    one, other = SYSTEM + words(BLOCK, 1000), SYSTEM + words(BLOCK, 2000)
    prefixes.turn(one, [1])
    prefixes.turn(other, [1])
    assert prefixes.stored(one) == prefixes.stored(other) == 3


def test_the_checkpoint_of_a_shared_beginning_is_written_and_no_other(tmp_path: Path) -> None:
    prefixes = Prefixes(tmp_path)
    prefixes.cache.open("model", "identity", [KVCache(), ArraysCache(1)])

    def caches(tokens: list[int]) -> list[Any]:
        values = mx.array(tokens, mx.float32).reshape(1, 1, -1, 1)
        attention, recurrent = KVCache(), ArraysCache(1)
        attention.update_and_fetch(values, values)
        recurrent[0] = values.sum().reshape(1, 1)
        return [attention, recurrent]

    border = SYSTEM + words(5, 500)  # it ends within a block
    for first in (1000, 2000):
        tokens = border + words(2 * BLOCK, first)
        prefixes.cache.on_disk("model", tokens)
        checkpoints = {n: make_checkpoint(caches(tokens[:n])) for n in (len(border), 4 * BLOCK)}
        prefixes.cache.keep("model", tokens, caches(tokens), checkpoints=checkpoints)
    assert prefixes.stored(tokens) == 3
    again = PrefixCache(16, 2**30, prefixes.disk)
    assert again.on_disk("model", tokens) == len(border)
    count, arrays = again.read("model", tokens)
    again.restore("model", tokens, count, arrays)
    found = again.fetch("model", tokens)
    assert found.length == len(border)
    assert found.layers is not None
    attention, recurrent = found.layers
    assert attention.offset == len(border)
    assert attention.keys_and_values()[0].reshape(-1).tolist() == border
    assert recurrent[0].item() == sum(border)


def test_prompts_with_different_salts_share_nothing(prefixes: Prefixes) -> None:
    prefixes.turn(SYSTEM, [1], "ann")
    prefixes.turn(SYSTEM, [1], "bob")
    assert prefixes.stored(SYSTEM, "ann") == prefixes.stored(SYSTEM, "bob") == 0
    prefixes.turn(SYSTEM, [1], "bob")
    assert prefixes.stored(SYSTEM, "bob") == 3


def test_each_turn_of_a_conversation_puts_the_one_before_on_disk(prefixes: Prefixes) -> None:
    conversation = SYSTEM
    for number in range(1, 5):
        prompt = conversation + words(BLOCK, 1000 * number)
        prefixes.turn(prompt, answer := words(BLOCK, 1000 * number + 500))
        before = len(conversation) // BLOCK if number > 1 else 0
        conversation = prompt + answer
        assert prefixes.stored(conversation) == before


def test_what_returns_is_written_even_if_memory_could_not_keep_it(tmp_path: Path) -> None:
    prefixes = Prefixes(tmp_path, entries=0)
    prefixes.turn(SYSTEM, [1])
    prefixes.turn(SYSTEM, [1])
    assert prefixes.stored(SYSTEM) == 3
    prefixes.disk.drain(20)


def test_requests_with_the_same_prompt_at_a_time_wait_to_be_written_once(tmp_path: Path) -> None:
    prefixes = Prefixes(tmp_path)
    held, go = threading.Event(), threading.Event()
    take = prefixes.disk._limit.take

    def slow(size: int) -> bool:
        held.set()
        go.wait(20)
        return take(size)

    prefixes.disk._limit.take = slow  # type: ignore[method-assign]
    for _ in range(2):
        prefixes.turn(SYSTEM, [1])
    assert held.wait(20)
    waiting = prefixes.disk.nbytes
    for answer in range(2, 10):
        prefixes.turn(SYSTEM, [answer])
    assert prefixes.disk.nbytes == waiting
    go.set()
    assert prefixes.stored(SYSTEM) == 3
    prefixes.disk.drain(20)


def test_a_pinned_model_writes_prompts_with_many_new_tokens(tmp_path: Path) -> None:
    prefixes = Prefixes(tmp_path, pinned=True)
    first = words(WRITE_PINNED, 0)
    prefixes.turn(first, words(BLOCK, 5000))
    assert prefixes.stored(first + words(BLOCK, 5000)) == 5
    longer = first + words(BLOCK, 6000)
    prefixes.turn(longer, [1])
    assert prefixes.stored(longer) == 4  # too little is new
    prefixes.disk.drain(20)


def test_an_unloaded_model_leaves_its_last_prompts_first(tmp_path: Path) -> None:
    size = one_block(tmp_path / "size")
    prefixes = Prefixes(tmp_path / "disk", limit=5 * size)
    prompts = [words(2 * BLOCK, 1000 * number) for number in range(4)]
    for prompt in prompts:
        prefixes.turn(prompt, [1])
    prefixes.cache.fetch("model", [*prompts[1], 1, 2])  # used again
    prefixes.cache.forget("model")
    assert [prefixes.stored(prompt) for prompt in prompts] == [0, 2, 1, 2]
    writes = prefixes.disk.writes
    assert (writes.written, writes.skipped) == (5 * size, 2 * size)
    prefixes.disk.drain(20)


def test_the_end_takes_no_longer_than_it_may_and_the_most_recent_is_kept(tmp_path: Path) -> None:
    prefixes = Prefixes(tmp_path)
    prompts = [words(2 * BLOCK, 1000 * number) for number in range(4)]
    for prompt in prompts:
        prefixes.turn(prompt, [1])
    prefixes.busy.set()  # a request that goes on does not slow down the last writes
    prefixes.cache.close(20)
    assert [prefixes.stored(prompt) for prompt in prompts] == [2, 2, 2, 2]


def test_after_the_end_nothing_is_written(tmp_path: Path) -> None:
    prefixes = Prefixes(tmp_path)
    held, go = threading.Event(), threading.Event()
    take = prefixes.disk._limit.take

    def slow(size: int) -> bool:
        held.set()
        go.wait(20)
        return take(size)

    prefixes.disk._limit.take = slow  # type: ignore[method-assign]
    prompts = [words(2 * BLOCK, 1000 * number) for number in range(4)]
    for prompt in prompts:
        prefixes.turn(prompt, [1])
    prefixes.cache.forget("model")
    assert held.wait(20)
    prefixes.disk.drain(0)
    prefixes.disk.stop()
    go.set()
    assert [prefixes.stored(prompt) for prompt in prompts] == [0, 0, 0, 1]


def one_block(folder: Path) -> int:
    """The size of a block of these caches."""
    prefixes = Prefixes(folder)
    prefixes.turn(words(BLOCK, 0), [])
    prefixes.cache.close(20)
    return prefixes.disk.writes.written


def test_a_writer_rests_in_proportion_to_its_work_while_requests_run() -> None:
    rests: list[float] = []

    class Recorded(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            rests.append(timeout or 0.0)
            return False

    running = True
    pace = WritePace(lambda: running)
    pace._hurry = Recorded()
    pace.begin()
    began = time.thread_time()
    while time.thread_time() - began < 0.02:
        pass
    pace.wait(0.1)
    assert rests[0] >= 9 * 0.02
    running = False
    pace.wait(0.1)
    assert len(rests) == 1
