"""Three minutes of `python -m benchmarks.soak`: a real server under everything that goes wrong."""

import asyncio

import pytest

from benchmarks.soak import measure, render


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_server_outlasts_three_minutes_of_bad_weather() -> None:
    found = asyncio.run(measure(minutes=3, seed=1))
    assert not found["problems"], "\n".join(found["problems"])
    for name, fates in found["fates"].items():
        assert fates.get("answered"), f"{name} was never answered: {fates}"
    assert all(found["weather"].values())
    assert len(found["weather"]) == 5
    assert found["engine_restarts"] >= 1
    assert "Longest operation" in render(found)
