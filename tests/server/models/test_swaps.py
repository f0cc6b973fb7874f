"""Models come and go under eight clients, through HTTP (`benchmarks/endurance/swaps.py`)."""

import asyncio
from pathlib import Path

import httpx

from benchmarks.endurance.swaps import Swaps
from mlx_notebook.engine.residency.memory_need import footprint
from mlx_notebook.protocol import ModelOptions
from tests.server.running import running
from tests.tiny_models.models import qwen3

OPERATIONS = 60


def test_every_operation_ends_in_an_answer_or_a_stated_error_and_memory_returns(
    tmp_path: Path,
) -> None:
    sound = {name: qwen3(tmp_path / name, seed=i) for i, name in enumerate("abc")}
    broken = qwen3(tmp_path / "broken") / "model.safetensors"
    broken.write_bytes(broken.read_bytes()[:-100])
    qwen3(tmp_path / "large", hidden_size=512, intermediate_size=2048)
    settings = {
        "models_dirs": [str(tmp_path)],
        "memory_budget_bytes": int(footprint("a", sound["a"], ModelOptions()).total * 1.5),
        "swap_patience_seconds": 0.2,
        "queue_limit": 256,
        "warm_up": False,
    }
    with running(config={"MlxNotebookApp": settings}) as server:

        async def try_hard() -> Swaps:
            async with httpx.AsyncClient(
                base_url=server.url, headers=server.headers, timeout=None
            ) as client:
                swaps = Swaps(client, list(sound), ["broken", "large"], seed=1)
                await client.post("mlx/models/load", json={"model": "a"})
                before = (await swaps.emptied())["active"]
                await swaps.run(OPERATIONS)
                await swaps.emptied(before + 100_000)
                return swaps

        swaps = asyncio.run(try_hard())
        assert not swaps.problems
        assert swaps.fates["answered"] > OPERATIONS / 4
        assert server.status()["engine"]["restarts"] == 0
