"""The reports of the measurements."""

import pytest

from benchmarks.comparison import report
from benchmarks.determinism import Comparison
from benchmarks.endurance import faults
from benchmarks.engine.profile_engine import summarise
from benchmarks.harness.contenders import OURS, RAW_BATCH


def burst(contender: str, number: int, total: float, **more):
    base = {
        "table": "same",
        "streams": 8,
        "failed": 0,
        "errors": [],
        "stream": 1.0,
        "first": 0.1,
        "cpu": 5.0,
    }
    return base | {"contender": contender, "round": number, "total": total} | more


def results(*bursts):
    return {
        "date": "2026-01-01",
        "machine": {"cores": 2, "system": "Linux x86_64", "python": "3.11"},
        "versions": {"mlx": "1"},
        "settings": {"model": "m", "tokens": 200, "prompt_tokens": 200},
        "bursts": list(bursts),
        "idle": {},
        "failures": {"vllm-mlx": "vllm-mlx could not be installed: no network"},
        "event_loop": {},
    }


def test_ratios_compare_with_raw_in_the_same_round():
    text = report.render(
        results(
            burst(RAW_BATCH, 0, 100), burst(OURS, 0, 95),
            burst(RAW_BATCH, 1, 200), burst(OURS, 1, 190),
            burst(RAW_BATCH, 2, 50), burst(OURS, 2, 40),
        )
    )  # fmt: skip
    assert f"| {OURS} | 95 (40-190), **0.95** |" in text


def test_contenders_that_failed_or_fell_short_are_named():
    text = report.render(results(burst(OURS, 0, 95, failed=2, errors=["3 tokens instead of 200"])))
    assert "vllm-mlx could not be installed: no network" in text
    assert f"- {OURS}, 8 streams: 2 (3 tokens instead of 200)" in text


def test_publishing_replaces_only_the_text_between_the_marks(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- results -->\nold\n<!-- end of results -->\nafter\n")
    report.publish("new\n", readme)
    assert readme.read_text() == ("before\n<!-- results -->\nnew\n<!-- end of results -->\nafter\n")
    readme.write_text("no marks")
    with pytest.raises(ValueError, match="needs the lines"):
        report.publish("new\n", readme)


def test_percentiles_are_in_milliseconds():
    assert report.percentiles([i / 1000 for i in range(1, 101)]) == {
        "count": 100, "p50": 50.5, "p99": 100.0, "max": 100.0,
    }  # fmt: skip
    assert report.percentiles([]) == {"count": 0}


def test_failures_are_named():
    fine = {"fates": {"503": 3}, "engines_left_over": 0}
    assert faults.failed({"orphans": 0, "kills": fine}) == []
    bad = {"fates": {"hung": 1}, "engines_left_over": 1}
    assert len(faults.failed({"orphans": 2, "kills": bad})) == 3


def test_a_profile_sums_the_functions_of_each_thread():
    folded = 'thread (1): "mlx";a (x.py:1);b (x.py:2) 3\nthread (1): "mlx";a (x.py:9) 1\n'
    text = summarise(folded)
    assert "| 100% | 25% | `a (x.py)` |" in text
    assert "| 75% | 75% | `b (x.py)` |" in text


def test_flips_count_only_tokens_up_to_the_first_difference():
    from benchmarks.harness.client import Reply

    def reply(text: str) -> Reply:
        body = b'data: {"choices": [{"delta": {"content": "%s"}}]}\n\n' % text.encode()
        return Reply(200, body, 0, 0, 1, complete=True)

    comparison = Comparison(tokens=100)
    comparison.add(reply("abcd"), reply("abcd"))
    comparison.add(reply("abcd"), reply("abXd"))
    assert comparison.figures == {
        "requests": 2, "different": 1, "flips_per_1000_tokens": round(1000 / 150, 2),
    }  # fmt: skip
