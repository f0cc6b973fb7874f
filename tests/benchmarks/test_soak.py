"""Three minutes of `python -m benchmarks.soak`: a real server under many faults."""

import asyncio

import pytest

from benchmarks.soak import measure, render


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_server_survives_three_minutes_of_faults() -> None:
    found = asyncio.run(measure(minutes=3, seed=1))
    assert not found["problems"], "\n".join(found["problems"])
    for name, fates in found["fates"].items():
        assert fates.get("answered"), f"{name} was never answered: {fates}"
    assert all(found["faults"].values())
    assert len(found["faults"]) == 5
    assert found["engine_restarts"] >= 1
    assert "Longest operation" in render(found)
