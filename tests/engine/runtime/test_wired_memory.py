"""How much memory is wired, and when. Metal is not needed: the limit goes to a list."""

import logging
from concurrent.futures import ThreadPoolExecutor

import mlx.core as mx
import pytest

from mlx_notebook.engine.kv_cache.prefix_cache import PrefixCache
from mlx_notebook.engine.residency.memory_budget import MemoryBudget
from mlx_notebook.engine.residency.model_queues import ModelQueues
from mlx_notebook.engine.residency.residency import Residency
from mlx_notebook.engine.runtime.wired_memory import WiredLimit, recommended_working_set
from mlx_notebook.protocol import EngineConfig
from tests.engine.residency.weights import resident

GB = 10**9


class Metal:
    """Takes limits as `mx.set_wired_limit` does."""

    def __init__(self, limit: int = 0):
        self.limits = [limit]

    def set_limit(self, limit: int) -> int:
        self.limits.append(limit)
        return self.limits[-2]


def test_by_default_nothing_is_wired_whatever_is_loaded(caplog: pytest.LogCaptureFixture) -> None:
    metal = Metal()
    wired = WiredLimit("off", 24 * GB, metal.set_limit)
    wired.fit(0)
    wired.fit(23 * GB)
    wired.restore()
    assert metal.limits == [0]
    assert wired.limit == 0
    assert not caplog.records


def test_auto_wires_the_weights_while_they_are_large() -> None:
    metal = Metal()
    wired = WiredLimit("auto", 24 * GB, metal.set_limit)
    seen = []
    for weights in (0, 12, 13, 20, 30, 12, 0):
        wired.fit(weights * GB)
        seen.append(wired.limit // GB)
    assert seen == [0, 0, 13, 20, 24, 0, 0]
    assert metal.limits == [0, *(size * GB for size in (13, 20, 24, 0))]


def test_a_number_is_wired_from_the_start_but_never_more_than_recommended() -> None:
    for asked, set_ in ((8 * GB, 8 * GB), (99 * GB, 24 * GB)):
        metal = Metal()
        wired = WiredLimit(str(asked), 24 * GB, metal.set_limit)
        wired.fit(0)
        wired.fit(20 * GB)
        assert metal.limits == [0, set_]
        assert wired.limit == set_


def test_the_limit_from_before_is_restored_once() -> None:
    metal = Metal(limit=5)
    wired = WiredLimit("auto", 24 * GB, metal.set_limit)
    wired.fit(20 * GB)
    wired.fit(15 * GB)
    wired.restore()
    wired.restore()
    assert metal.limits == [5, 20 * GB, 15 * GB, 5]
    assert wired.limit == 0


@pytest.mark.parametrize(("setting", "lines"), [("off", 0), ("auto", 1), ("1000", 1)])
def test_without_metal_a_setting_has_no_effect_and_the_log_says_so_once(
    setting: str, lines: int, caplog: pytest.LogCaptureFixture
) -> None:
    metal = Metal()
    wired = WiredLimit(setting, None, metal.set_limit)
    wired.fit(0)
    wired.fit(20 * GB)
    assert metal.limits == [0]
    assert [record.message for record in caplog.records] == [
        "wired_limit has no effect: this machine has no Metal"
    ] * lines


def test_on_metal_the_log_says_once_that_memory_is_wired(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        wired = WiredLimit("auto", 24 * GB, Metal().set_limit)
        wired.fit(20 * GB)
        wired.fit(0)
    assert [record.message for record in caplog.records] == [
        "wired_limit is auto: see the page Memory on a Mac"
    ]


def test_only_metal_recommends_a_working_set(monkeypatch: pytest.MonkeyPatch) -> None:
    if not mx.metal.is_available():
        assert recommended_working_set() is None
    monkeypatch.setattr(mx.metal, "is_available", lambda: True)
    monkeypatch.setattr(mx, "default_device", lambda: mx.gpu)
    monkeypatch.setattr(mx, "device_info", lambda: {"max_recommended_working_set_size": 24 * GB})
    assert recommended_working_set() == 24 * GB


def test_the_limit_follows_the_models_in_memory_and_shared_weights_count_once() -> None:
    metal = Metal()
    with ThreadPoolExecutor(1) as workers:
        residency = Residency(
            EngineConfig(), MemoryBudget(100, 0, 10), PrefixCache(4, 100), workers, ModelQueues()
        )
        residency.wired = WiredLimit("auto", 100, metal.set_limit)
        first, second, adapted = resident("a", 40), resident("b", 30), resident("c", 45)
        adapted.backend.base = first.backend.base  # 5 bytes of its own
        residency.models = {"a": first, "b": second}
        residency.follow_models()
        residency.models["c"] = adapted
        residency.follow_models()
        residency.unload("b")
    assert metal.limits == [0, 70, 75, 0]
