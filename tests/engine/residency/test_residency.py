"""Models that come and go: what fits, who makes room, who waits, and what fails."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlx_notebook import protocol
from mlx_notebook.engine.residency.memory_need import Footprint, footprint
from tests.engine.process import EngineProcess, running
from tests.tiny_models.models import qwen3

LONG = {"max_tokens": 1500, "temperature": 0.0, "ignore_eos": True}
SHORT = {"max_tokens": 4, "temperature": 0.0, "ignore_eos": True}
ENDLESS = {**LONG, "max_tokens": 30_000}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {name: qwen3(folder / name, seed=i) for i, name in enumerate("abcd")}


@pytest.fixture(scope="module")
def need(models: dict[str, Path]) -> Footprint:
    return footprint("a", models["a"], protocol.ModelOptions())


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Models whose ENDLESS requests outlast every look at them; they end when cancelled."""
    folder = tmp_path_factory.mktemp("patient")
    return {name: qwen3(folder / name, seed=i, context=32_768) for i, name in enumerate("abcd")}


@pytest.fixture(scope="module")
def one_and_a_half(patient: dict[str, Path]) -> int:
    """A budget for one and a half of the patient models, in bytes."""
    return int(footprint("a", patient["a"], protocol.ModelOptions()).total * 1.5)


def load(
    engine: EngineProcess, name: str, path: Path, **options: Any
) -> protocol.Loaded | protocol.Failed:
    id = f"load {name} {len(engine.events)}"
    engine.send(protocol.Load(id=id, model=name, path=str(path), **options))
    event = engine.wait(lambda e: isinstance(e, protocol.Loaded | protocol.Failed) and e.id == id)
    assert isinstance(event, protocol.Loaded | protocol.Failed)
    return event


def names(engine: EngineProcess) -> set[str]:
    return {resident.model for resident in engine.stats().resident}


def order_of_ends(engine: EngineProcess) -> list[str]:
    return [e.id for e in engine.events if isinstance(e, protocol.Done | protocol.Failed)]


def loads(engine: EngineProcess, name: str) -> int:
    return engine.log.read_text().count(f"loaded {name} in")


def test_a_footprint_is_read_from_the_files_and_is_what_the_model_then_takes(
    models: dict[str, Path], need: Footprint
) -> None:
    with running() as engine:
        loaded = load(engine, "a", models["a"])
        assert isinstance(loaded, protocol.Loaded)
        assert loaded.resident.bytes == need.weights
        assert need.kv == 2 * 2 * 2 * 16 * 4 * 2048  # layers, keys and values, heads, size, bytes


def test_the_budget_keeps_to_the_memory_that_a_container_may_use(tmp_path: Path) -> None:
    from mlx_notebook.model_files.machine_memory import cgroup_limits

    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "memory.max").write_text("5000\n")
    (tmp_path / "a" / "b" / "memory.max").write_text("max\n")
    groups = tmp_path / "cgroup"
    groups.write_text("0::/a/b\n")
    assert list(cgroup_limits(groups, tmp_path)) == [5000]
    assert list(cgroup_limits(tmp_path / "none", tmp_path)) == []


def test_the_least_recently_used_makes_room_and_a_pinned_one_stays(
    models: dict[str, Path], need: Footprint
) -> None:
    with running(memory_budget=int(need.total * 2.5)) as engine:
        load(engine, "a", models["a"], pin=True)
        load(engine, "b", models["b"])
        load(engine, "c", models["c"])
        assert names(engine) == {"a", "c"}
        (end,) = engine.finish(engine.start("d", models["d"], "hi", **SHORT))
        assert isinstance(end, protocol.Done)
        assert names(engine) == {"a", "d"}


def test_what_cannot_fit_is_refused_with_figures_and_the_resident_ones_stay(
    models: dict[str, Path], need: Footprint, tmp_path: Path
) -> None:
    with running(memory_budget=int(need.total * 1.5)) as engine:
        load(engine, "a", models["a"])
        large = qwen3(tmp_path / "large", hidden_size=512, intermediate_size=2048)
        (end,) = engine.finish(engine.start("large", large, "hi", **SHORT))
        assert isinstance(end, protocol.Failed)
        assert end.code == "insufficient_memory"
        assert "it needs" in end.message
        assert "budget for models is" in end.message
        assert names(engine) == {"a"}
        engine.send(protocol.Pin(id="pin", model="a", pinned=True))
        refused = load(engine, "b", models["b"])
        assert isinstance(refused, protocol.Failed)
        assert "pinned models hold" in refused.message
        assert names(engine) == {"a"}


def test_a_user_who_may_not_swap_models_uses_those_that_fit(models: dict[str, Path]) -> None:
    with running(max_resident=2) as engine:
        for name in "ab":
            assert isinstance(load(engine, name, models[name], evict=False), protocol.Loaded)
        refused = load(engine, "c", models["c"], evict=False)
        assert isinstance(refused, protocol.Failed)
        assert refused.code == "permission_denied"
        assert refused.message == (
            "c fits into memory only in place of a, and you may not swap models. "
            "Use a model that is in memory: a, b."
        )
        assert names(engine) == {"a", "b"}
        assert isinstance(load(engine, "c", models["c"]), protocol.Loaded)
        assert names(engine) == {"b", "c"}


def test_a_limit_on_the_number_of_models_counts_pinned_ones(models: dict[str, Path]) -> None:
    with running(max_resident=1) as engine:
        load(engine, "a", models["a"], pin=True)
        refused = load(engine, "b", models["b"])
        assert isinstance(refused, protocol.Failed)
        assert refused.code == "insufficient_memory"
        assert "max_resident" in refused.message


def test_requests_for_one_cold_model_load_it_once(models: dict[str, Path]) -> None:
    with running() as engine:
        ids = [engine.start("a", models["a"], f"number {i}", **SHORT) for i in range(5)]
        assert all(isinstance(end, protocol.Done) for end in engine.finish(*ids))
        assert loads(engine, "a") == 1


def test_models_that_wait_for_memory_come_in_the_order_of_their_first_requests(
    patient: dict[str, Path], one_and_a_half: int
) -> None:
    with running(memory_budget=one_and_a_half) as engine:
        first = engine.start("a", patient["a"], "go on", **ENDLESS)
        engine.wait(lambda e: isinstance(e, protocol.Text | protocol.Reasoning) and e.id == first)
        waiting = [engine.start(name, patient[name], "hi", **SHORT) for name in "dbcd"]
        stats = engine.wait(lambda e: isinstance(e, protocol.Stats) and len(e.loading) == 3)
        assert isinstance(stats, protocol.Stats)
        assert stats.loading == ["d", "b", "c"]
        assert {r.phase for r in stats.requests if r.id != first} == {"queued"}
        assert not order_of_ends(engine)
        engine.send(protocol.Cancel(first))
        engine.finish(*waiting)
        order = order_of_ends(engine)
        assert sorted(order[:2]) == sorted([waiting[0], waiting[3]])
        assert order[2:] == [waiting[1], waiting[2]]


def test_a_waiting_model_gets_its_turn_though_requests_for_the_running_one_keep_coming(
    models: dict[str, Path], need: Footprint
) -> None:
    with running(memory_budget=int(need.total * 1.5), swap_patience=0.2) as engine:
        options = {**LONG, "max_tokens": 150}
        running_one = [engine.start("a", models["a"], f"early {i}", **options) for i in range(2)]
        engine.wait(lambda e: isinstance(e, protocol.Text | protocol.Reasoning))
        other = engine.start("b", models["b"], "me too", **SHORT)
        for i in range(300):  # as soon as one ends, the next comes: "a" is never idle by itself
            running_one.append(engine.start("a", models["a"], f"late {i}", **options))
            engine.wait(lambda e: isinstance(e, protocol.Done))
            if any(isinstance(e, protocol.Done) and e.id == other for e in engine.events):
                break
        ends = engine.finish(*running_one, other)
        assert all(isinstance(end, protocol.Done) for end in ends)
        order = order_of_ends(engine)
        assert order.index(other) < order.index(running_one[-1])
        assert loads(engine, "b") == 1


def test_a_waiting_request_can_be_cancelled_and_gives_the_place_in_the_queue_up(
    patient: dict[str, Path], one_and_a_half: int
) -> None:
    with running(memory_budget=one_and_a_half, swap_patience=0.0) as engine:
        first = engine.start("a", patient["a"], "go on", **ENDLESS)
        engine.wait(lambda e: isinstance(e, protocol.Text | protocol.Reasoning))
        waiting = engine.start("b", patient["b"], "hi", **SHORT)
        engine.wait(lambda e: isinstance(e, protocol.Stats) and e.loading == ["b"])
        later = engine.start("a", patient["a"], "held", **SHORT)
        engine.wait(lambda e: isinstance(e, protocol.Stats) and e.loading == ["b", "a"])
        engine.send(protocol.Cancel(waiting))
        (end,) = engine.finish(later)
        assert isinstance(end, protocol.Done)
        engine.send(protocol.Cancel(first))
        engine.wait(lambda e: isinstance(e, protocol.Stats) and not e.requests)
        assert names(engine) == {"a"}
        assert loads(engine, "b") == 0


def test_an_order_to_load_can_be_cancelled(patient: dict[str, Path], one_and_a_half: int) -> None:
    with running(memory_budget=one_and_a_half) as engine:
        first = engine.start("a", patient["a"], "go on", **ENDLESS)
        engine.wait(lambda e: isinstance(e, protocol.Text | protocol.Reasoning))
        engine.send(protocol.Load(id="order", model="b", path=str(patient["b"])))
        engine.wait(lambda e: isinstance(e, protocol.Stats) and e.loading == ["b"])
        engine.send(protocol.Cancel("order"))
        engine.wait(lambda e: isinstance(e, protocol.Stats) and not e.loading)
        engine.send(protocol.Cancel(first))
        assert loads(engine, "b") == 0


def wait_for_text_of_all(engine: EngineProcess, ids: list[str]) -> None:
    for id in ids:
        if not any(
            isinstance(e, protocol.Text | protocol.Reasoning) and e.id == id for e in engine.events
        ):
            engine.wait(
                lambda e, id=id: isinstance(e, protocol.Text | protocol.Reasoning) and e.id == id
            )


def test_a_model_that_comes_beside_long_conversations_takes_the_place_of_kept_prompts(
    models: dict[str, Path], need: Footprint
) -> None:
    def text(number: int) -> str:
        return f"{number}" * 1500  # tokens: the tokenizer knows bytes only

    settings = {"memory_budget": need.total * 2 + 10_000, "prefix_cache_bytes": need.kv * 5}
    options = {**LONG, "max_tokens": 500}
    with running(**settings, warm_up=False) as engine:
        engine.finish(*(engine.start("a", models["a"], text(i), **SHORT) for i in range(6)))
        kept = engine.stats().memory.prefixes
        assert kept > need.kv * 4
        streams = [engine.start("a", models["a"], text(i), **options) for i in range(6, 9)]
        wait_for_text_of_all(engine, streams)
        assert isinstance(load(engine, "b", models["b"]), protocol.Loaded)
        assert not any(isinstance(e, protocol.Done) and e.id in streams for e in engine.events)
        for stream in streams:
            engine.send(protocol.Cancel(stream))
        stats = next(e for e in reversed(engine.events) if isinstance(e, protocol.Stats))
        assert stats.memory.prefixes < kept - need.kv / 2


def test_a_model_waits_for_conversations_that_are_too_long_to_fit_beside_it(
    models: dict[str, Path], need: Footprint
) -> None:
    settings = {"memory_budget": need.total * 2 + 10_000, "prefix_cache_bytes": 1}
    options = {**LONG, "max_tokens": 200}
    with running(**settings, warm_up=False) as engine:
        load(engine, "a", models["a"], pin=True)
        streams = [engine.start("a", models["a"], f"{i}" * 1500, **options) for i in range(3)]
        wait_for_text_of_all(engine, streams)
        assert isinstance(load(engine, "b", models["b"]), protocol.Loaded)
        assert any(isinstance(e, protocol.Done) for e in engine.events)
        engine.finish(*streams)
        assert names(engine) == {"a", "b"}


def test_other_settings_load_a_model_again(models: dict[str, Path]) -> None:
    with running() as engine:
        before = load(engine, "a", models["a"], pin=True)
        options = protocol.ModelOptions(context_limit=100)
        after = load(engine, "a", models["a"], options=options)
        assert isinstance(before, protocol.Loaded)
        assert isinstance(after, protocol.Loaded)
        assert (before.resident.context_length, after.resident.context_length) == (2048, 100)
        assert after.resident.pinned
        assert len(engine.stats().resident) == 1


def truncated(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])


def of_other_shapes(folder: Path) -> None:
    change(folder, hidden_size=96)


def of_unknown_architecture(folder: Path) -> None:
    change(folder, model_type="no_such_thing")


def change(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def without_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()


def without_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def with_garbled_config(folder: Path) -> None:
    (folder / "config.json").write_text("{ not json")


def without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


@pytest.fixture(scope="module")
def small(models: dict[str, Path], need: Footprint) -> Any:
    with running(memory_budget=int(need.total * 1.5)) as engine:
        load(engine, "a", models["a"])
        yield engine


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (truncated, "cut off"),
        (of_other_shapes, "shape"),
        (of_unknown_architecture, "no_such_thing"),
        (without_tokenizer, "tokenizer"),
        (without_config, "config.json"),
        (with_garbled_config, "config.json"),
        (without_weights, "safetensors"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_broken_model_fails_in_one_sentence_and_nobody_had_to_go_for_it(
    small: EngineProcess, tmp_path: Path, damage: Callable[[Path], None], words: str
) -> None:
    broken = qwen3(tmp_path / "broken")
    damage(broken)
    ids = [small.start(str(tmp_path), broken, f"hi {i}", **SHORT) for i in range(4)]
    ends = small.finish(*ids)
    messages = {end.message for end in ends if isinstance(end, protocol.Failed)}
    assert all(isinstance(end, protocol.Failed) and end.code == "model_load_failed" for end in ends)
    (message,) = messages
    assert words in message
    assert "\n" not in message
    assert len(message) < 300 + len(str(tmp_path))
    assert names(small) == {"a"}


def test_a_broken_model_is_not_tried_again_until_its_files_change_or_someone_orders_it(
    tmp_path: Path,
) -> None:
    broken = qwen3(tmp_path / "broken")
    truncated(broken)
    with running() as engine:
        for _ in range(3):
            (end,) = engine.finish(engine.start("broken", broken, "hi", **SHORT))
            assert isinstance(end, protocol.Failed)
        assert engine.log.read_text().count("broken cannot be loaded") == 1
        assert isinstance(load(engine, "broken", broken), protocol.Failed)
        assert engine.log.read_text().count("broken cannot be loaded") == 2
        qwen3(broken)
        (end,) = engine.finish(engine.start("broken", broken, "hi", **SHORT))
        assert isinstance(end, protocol.Done)


def test_an_unused_models_memory_leaves_the_process_and_the_next_request_brings_it_back(
    tmp_path: Path,
) -> None:
    import psutil

    large = qwen3(tmp_path / "large", hidden_size=1024, intermediate_size=4096)
    size = footprint("large", large, protocol.ModelOptions()).weights
    assert size > 100e6
    with running(idle_unload_minutes=0.05) as engine:
        engine.wait(lambda e: isinstance(e, protocol.Ready))
        process = psutil.Process(engine.process.pid)
        for _ in range(2):
            (end,) = engine.finish(engine.start("large", large, "hi", **SHORT))
            assert isinstance(end, protocol.Done)
            left = process.memory_info().rss - 0.9 * size
            engine.wait(
                lambda e, left=left: (
                    isinstance(e, protocol.Stats) and not e.resident and e.memory.process < left
                ),
                timeout=20,
            )


def test_a_model_that_went_for_a_smaller_one_leaves_no_memory_behind(
    models: dict[str, Path], tmp_path: Path
) -> None:
    import psutil

    large = qwen3(tmp_path / "large", hidden_size=1024, intermediate_size=4096)
    size = footprint("large", large, protocol.ModelOptions()).weights
    with running(max_resident=1, warm_up=False) as engine:
        engine.finish(engine.start("large", large, "hi", **SHORT))
        process = psutil.Process(engine.process.pid)
        loaded = process.memory_info().rss
        engine.finish(engine.start("a", models["a"], "hi", **SHORT))
        assert names(engine) == {"a"}
        # Its pages go back when the engine has been idle for ten seconds.
        engine.wait(
            lambda e: isinstance(e, protocol.Stats) and loaded - e.memory.process > 0.9 * size,
            timeout=20,
        )


def test_a_model_decodes_on_while_another_reads_long_prompts(
    models: dict[str, Path], tmp_path: Path
) -> None:
    large = qwen3(tmp_path / "slow", hidden_size=512, intermediate_size=1024, context=8192)
    with running(prefill_step=256) as engine:
        load(engine, "large", large)
        load(engine, "a", models["a"])
        reader = engine.start("large", large, "a long story " * 500, **SHORT)
        engine.wait(lambda e: isinstance(e, protocol.Prefill) and e.id == reader)
        writer = engine.start("a", models["a"], "tell", **{**LONG, "max_tokens": 400})
        engine.wait(lambda e: isinstance(e, protocol.Text | protocol.Reasoning) and e.id == writer)
        written = between = 0
        end = engine.wait(lambda e: isinstance(e, protocol.Done))
        for event in engine.events:
            if isinstance(event, protocol.Prefill) and event.id == reader:
                between += 1
            elif isinstance(event, protocol.Text | protocol.Reasoning) and event.id == writer:
                written += event.tokens
            elif isinstance(event, protocol.Done):
                break
        assert isinstance(end, protocol.Done)
        # Equal time, not one token for each chunk that takes fifty times as long.
        assert end.id == writer or written > 3 * between
        engine.finish(reader, writer)


def test_a_model_that_is_kept_is_not_idle(models: dict[str, Path]) -> None:
    with running(idle_unload_minutes=0.1, warm_up=False) as engine:
        load(engine, "a", models["a"])
        load(engine, "b", models["b"])
        while "b" in names(engine):
            engine.send(protocol.Touch("a"))
            engine.wait(lambda e: isinstance(e, protocol.Stats))
        assert names(engine) == {"a"}, "the one that was used before is the one that was kept"
        engine.wait(lambda e: isinstance(e, protocol.Stats) and not e.resident, timeout=20)
