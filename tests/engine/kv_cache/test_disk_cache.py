"""Prompts survive the engine: its death, its end, and the unloading of a model."""

import time
from pathlib import Path
from typing import Any

import pytest

from mlx_notebook import protocol
from mlx_notebook.engine.kv_cache.disk_store import BLOCK
from tests.engine.process import EngineProcess, running
from tests.models import gemma3, lfm2, qwen3

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
    return list((folder / "prefixes").rglob("*.safetensors"))


def until_written(folder: Path, count: int) -> None:
    """Wait for the engine's writer, which nobody else waits for."""
    end = time.monotonic() + 20
    while len(blocks(folder)) < count:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_long_prompt_survives_a_killed_engine_and_gives_the_same_text(
    model: Path, tmp_path: Path
) -> None:
    with running() as engine:
        cold = [answer(engine, model, messages)[0] for messages in (QUESTION, OTHER)]
    with running(**settings(tmp_path)) as engine:
        text, usage = answer(engine, model, QUESTION)
        assert (text, usage.cached) == (cold[0], 0)
        until_written(tmp_path, usage.prompt // BLOCK)
        engine.process.kill()
    with running(**settings(tmp_path)) as engine:
        text, usage = answer(engine, model, OTHER)
        assert text == cold[1]
        assert usage.prompt - 2 * BLOCK < usage.cached < usage.prompt
        assert usage.cached % BLOCK == 0
        text, usage = answer(engine, model, QUESTION)
        assert text == cold[0]


def test_a_damaged_file_only_costs_the_computing(model: Path, tmp_path: Path) -> None:
    with running(**settings(tmp_path)) as engine:
        cold, usage = answer(engine, model, QUESTION)
        until_written(tmp_path, usage.prompt // BLOCK)
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


def test_what_memory_has_no_room_for_is_kept_on_disk(model: Path, tmp_path: Path) -> None:
    with running(prefix_cache_entries=1, **settings(tmp_path)) as engine:
        one, two = ([{"role": "user", "content": word * 200}] for word in "ab")
        cold, _ = answer(engine, model, one)
        answer(engine, model, two)  # puts the first one out of memory
        until_written(tmp_path, 1)
        text, usage = answer(engine, model, one)
        assert (text, usage.cached) == (cold, BLOCK)


def test_changed_weights_find_nothing(tmp_path: Path) -> None:
    folder = qwen3(tmp_path / "model", seed=1)
    with running(**settings(tmp_path)) as engine:
        _, usage = answer(engine, folder, QUESTION)
        until_written(tmp_path, usage.prompt // BLOCK)
    qwen3(folder, seed=2)
    with running() as engine:
        cold, _ = answer(engine, folder, QUESTION)
    with running(**settings(tmp_path)) as engine:
        text, usage = answer(engine, folder, QUESTION)
        assert (text, usage.cached) == (cold, 0)


@pytest.mark.parametrize("build", [gemma3, lfm2])
def test_caches_that_cannot_be_cut_are_not_kept_and_work_on(build: Any, tmp_path: Path) -> None:
    folder = build(tmp_path / "model")
    first = EngineProcess(**settings(tmp_path))
    cold, _ = answer(first, folder, QUESTION, max_tokens=4)
    assert first.stop() == 0
    assert not blocks(tmp_path)
    with running(**settings(tmp_path)) as second:
        text, usage = answer(second, folder, QUESTION, max_tokens=4)
        assert (text, usage.cached) == (cold, 0)


def test_requests_cancelled_while_their_prompt_is_read_leave_the_engine_idle(
    model: Path, tmp_path: Path
) -> None:
    with running(**settings(tmp_path)) as engine:
        _, usage = answer(engine, model, QUESTION)
        until_written(tmp_path, usage.prompt // BLOCK)
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
