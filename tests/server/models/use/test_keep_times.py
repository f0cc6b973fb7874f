import asyncio
import math

from mlx_notebook.server.models.use.keep_times import KeepTimes


def test_a_model_is_counted_as_used_until_its_time_is_over() -> None:
    async def kept() -> list[str]:
        seen: list[str] = []
        enough = asyncio.Event()

        def keep(model: str) -> None:
            seen.append(model)
            if seen.count("long") >= 3:
                enough.set()

        times = KeepTimes(keep, lambda: {"long", "over"}, lambda: 0.003)
        times.set("long", math.inf)
        times.set("over", 1e-9)
        times.set("gone", math.inf)
        assert times.left("long") == math.inf
        await asyncio.wait_for(enough.wait(), 30)
        assert times.left("gone") == 0
        return seen

    assert set(asyncio.run(kept())) == {"long"}


def test_nobody_has_asked_for_other_models() -> None:
    assert KeepTimes(lambda model: None, set[str], lambda: 0).left("x") == 0
