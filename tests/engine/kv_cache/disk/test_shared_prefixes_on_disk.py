"""A declared system prompt is shared by users across restarts; what each of them says is not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlx_notebook import protocol
from mlx_notebook.engine.kv_cache.disk.block_names import BLOCK
from tests.engine.process import EngineProcess, running
from tests.tiny_models.models import lfm2, qwen3

SYSTEM = "You are a careful assistant. " * 30
SECRET = "The key of the cellar lies under the third stone. " * 12


def answer(engine: EngineProcess, model: Path, user: str) -> tuple[str, protocol.Usage]:
    """Ask with a secret in the question; return the greedy answer."""
    id = f"{user} {len(engine.events)}"
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": SECRET}]
    engine.send(
        protocol.Generate(
            id=id,
            model="random",
            path=str(model),
            prompt=protocol.ChatPrompt(messages=messages),
            sampling=protocol.Sampling(max_tokens=12, temperature=0.0, ignore_eos=True),
            cache_salt=user,
            shared_system=SYSTEM,
            shared_salt="class",
            user=user,
        )
    )
    (end,) = engine.finish(id)
    assert isinstance(end, protocol.Done), end
    return engine.text(id), end.usage


@pytest.mark.parametrize("make", [qwen3, lfm2], ids=["attention", "hybrid"])
def test_what_is_shared_survives_a_restart_and_nothing_else_is(
    make: Callable[..., Path], tmp_path: Path
) -> None:
    model = make(tmp_path / "model")
    disk: dict[str, Any] = {
        "prefix_disk_path": str(tmp_path / "prefixes"),
        "prefix_disk_bytes": 10**9,
    }
    with running(**disk) as engine:
        cold, usage = answer(engine, model, "ann")
        assert usage.cached == 0
        text, usage = answer(engine, model, "bob")
        assert text == cold
        shared = usage.cached
        assert BLOCK < shared < 0.6 * usage.prompt
        engine.stop()
    with running(**disk) as engine:
        text, usage = answer(engine, model, "cem")
        assert text == cold
        assert shared - BLOCK < usage.cached <= shared
        text, usage = answer(engine, model, "ann")
        assert text == cold
        assert usage.cached > 0.8 * usage.prompt
