"""Prompts of models whose caches cannot be cut go on from the places where they were kept."""

from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx_lm.models.cache import ArraysCache, CacheList, KVCache, RotatingKVCache

from mlx_notebook import protocol
from mlx_notebook.engine.kv_cache.checkpoints import always_cuttable, cut, make_checkpoint
from tests.engine.process import EngineProcess, running
from tests.tiny_models.models import gemma3, lfm2, qwen35


def ask(engine: EngineProcess, folder: Path, prompt: protocol.Prompt) -> tuple[str, int]:
    """The greedy answer, and how many tokens of the prompt were cached."""
    request = engine.start("m", folder, prompt, max_tokens=4, temperature=0.0, ignore_eos=True)
    (end,) = engine.finish(request)
    assert isinstance(end, protocol.Done), end
    return engine.text(request), end.usage.cached


@pytest.mark.parametrize("build", [gemma3, lfm2, qwen35])
def test_an_agent_whose_last_messages_change_computes_only_these(
    build: Any, tmp_path: Path
) -> None:
    folder = build(tmp_path / "model")
    chat = [{"role": "system", "content": "You are careful. " * 20}]
    chat += [
        {"role": role, "content": f"{role} says {number}" * 5}
        for number in range(4)
        for role in ("user", "assistant")
    ]
    asked = [chat[:-1], [*chat[:-2], {"role": "user", "content": "other"}], chat[:2]]
    prompts = [protocol.ChatPrompt(messages=messages) for messages in asked]
    with running(prefix_cache_entries=0) as engine:
        cold = [ask(engine, folder, prompt) for prompt in prompts]
        assert {cached for _, cached in cold} == {0}
    with running() as engine:
        warm = [ask(engine, folder, prompt) for prompt in prompts]
    assert [text for text, _ in warm] == [text for text, _ in cold]
    first, last_changed, beginning = (cached for _, cached in warm)
    assert first == 0
    system = len(chat[0]["content"]) + len("[system.") + 1
    assert beginning > system
    assert last_changed > beginning + 25 * len("user says 0")


def test_a_long_prompt_is_kept_every_2048_tokens(tmp_path: Path) -> None:
    folder = qwen35(tmp_path / "model", context=4096)
    text = "".join(f"{number}, " for number in range(900))
    with running() as engine:
        ask(engine, folder, protocol.TextPrompt(text=text[:4000]))
        _, cached = ask(engine, folder, protocol.TextPrompt(text=text[:3000] + "!"))
    assert cached == 2048


def layers() -> list[Any]:
    made = [KVCache(), RotatingKVCache(4), CacheList(ArraysCache(1), KVCache())]
    numbers = mx.arange(10.0).reshape(1, 1, 10, 1)
    for layer in (made[0], made[1], made[2].caches[1]):
        layer.update_and_fetch(numbers, numbers)
    made[2].caches[0][0] = mx.array([[10.0]])
    return made


def test_a_cut_cache_has_its_attention_from_the_whole_and_the_rest_from_the_checkpoint() -> None:
    whole = layers()
    checkpoint = make_checkpoint(layers())
    checkpoint.layers[2].caches[0][0] = mx.array([[7.0]])
    found = cut(whole, 3, checkpoint)
    assert found[0].offset == found[2].caches[1].offset == 7
    assert mx.array_equal(found[0].keys, whole[0].keys)
    assert found[2].caches[0][0].item() == 7
    assert whole[0].offset == 10
    assert whole[2].caches[0][0].item() == 10
    assert [always_cuttable(layer) for layer in whole] == [True, False, False]
    # One number of the recurrent state, and the window's keys and values.
    assert checkpoint.nbytes == 4 + whole[1].nbytes


def test_a_checkpoint_keeps_no_batch_in_memory() -> None:
    batch = mx.random.normal((64, 1, 1024, 16))
    mx.eval(batch)
    layer = ArraysCache(1)
    layer[0] = batch[3:4]
    before = mx.get_active_memory()
    checkpoint = make_checkpoint([layer])
    del batch, layer
    # Other tests of this process may hold memory too.
    assert before - mx.get_active_memory() > 60 * 1024 * 16 * 4
    assert checkpoint.nbytes == 1024 * 16 * 4
