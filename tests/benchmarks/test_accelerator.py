"""The run on a machine with little time: limits, ratios, and a whole one with a tiny model."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.comparison import sections
from benchmarks.comparison.report import render_bursts
from benchmarks.comparison.scenarios import TEN_KEYS, Row, Sizes, Stage
from benchmarks.harness.budget import Budget
from benchmarks.harness.contenders import OURS, RAW_BATCH, RAW_STREAM, RAW_WIDE, ROOT
from mlx_notebook.server.models.catalog import EMBEDDED_DEFAULT

TINY = Path(__file__).parents[2] / "mlx_notebook" / "demo_models" / EMBEDDED_DEFAULT


def test_what_does_not_fit_is_skipped_and_what_takes_too_long_is_cut_short():
    done = []

    async def quick():
        done.append("quick")

    async def slow():
        done.append("slow began")
        await asyncio.Event().wait()

    async def broken():
        raise RuntimeError("no answer")

    async def run():
        budget = Budget(1000)
        await budget.run("one", quick(), least=10, limit=10)
        await budget.run("two", slow(), least=10, limit=0.01)
        await budget.run("three", broken(), least=10, limit=10)
        await budget.run("four", quick(), least=2000, limit=3000)
        return budget.notes

    notes = asyncio.run(run())
    assert done == ["quick", "slow began"]
    assert [note.split(":")[0] for note in notes] == ["two", "three", "four"]
    assert "cut short" in notes[0]
    assert "no answer" in notes[1]
    assert "skipped" in notes[2]


def burst(name: str, number: int, level: int, total: float, first: float) -> dict:
    fixed = {"table": "t", "failed": 0, "errors": [], "stream": 1.0, "cpu": 1.0}
    figures = {"contender": name, "streams": level, "round": number, "total": total, "first": first}
    return fixed | figures


def test_many_streams_are_compared_with_the_faster_of_the_raw_batches_in_each_round():
    lines = render_bursts(
        [
            burst(RAW_STREAM, 0, 1, 100, 0.1), burst(OURS, 0, 1, 90, 0.2),
            burst(RAW_BATCH, 0, 8, 100, 0.1), burst(RAW_WIDE, 0, 8, 200, 0.4),
            burst(OURS, 0, 8, 100, 0.2),
            burst(RAW_BATCH, 1, 8, 400, 0.1), burst(RAW_WIDE, 1, 8, 200, 0.4),
            burst(OURS, 1, 8, 200, 0.2),
        ]
    )  # fmt: skip
    ours = [line for line in lines if line.startswith(f"| {OURS} |")]
    assert "90, **0.90** | 150 (100-200), **0.50**" in ours[0]
    # The first token is compared with that of the same loop: 0.5 in the first round, then 2.
    assert "**1.25**" in ours[2]


def test_a_section_shows_medians_and_ratios_to_the_base_of_each_case():
    stage = Stage(None, TINY, Sizes())
    for number, (base, mine) in enumerate([(2.0, 4.0), (1.0, 1.0), (4.0, 2.0)]):
        stage.record(Row("long prompts", "4000 tokens, cold", "raw", number, {"first": base}, True))
        stage.record(Row("long prompts", "4000 tokens, cold", OURS, number, {"first": mine}))
    lines = sections.render(stage.as_data())
    assert f"| 4000 tokens, cold | {OURS} | 2000, **1.00** |" in lines
    assert "| 4000 tokens, cold | raw | 2000, **1.00** |" in lines


def test_the_schema_has_ten_keys_that_are_all_required():
    assert len(TEN_KEYS["required"]) == len(TEN_KEYS["properties"]) == 10


@pytest.mark.slow
def test_a_run_with_a_tiny_model_measures_every_section(tmp_path):
    command = [
        *(sys.executable, "-m", "benchmarks.accelerator", "--model", "tiny", "--quick"),
        *("--tokenizer", str(TINY), "--contenders", "raw", OURS, "--out", str(tmp_path)),
        *("--total", "250", "--scale", "3"),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.glob("accelerator-*-tiny.json")
    found = json.loads(file.read_text())
    assert not found["notes"], done.stdout
    assert not found["failures"], done.stdout
    assert {b["streams"] for b in found["bursts"] if b["contender"] == OURS} == {1, 4}
    assert all(b["failed"] == 0 for b in found["bursts"])
    assert {row["section"] for row in found["scenarios"]} == set(sections.HEADINGS)
    assert all(row["figures"].get("same", 1.0) == 1.0 for row in found["scenarios"])
    report = file.with_suffix(".md").read_text()
    assert all(heading in report for heading in sections.HEADINGS.values())
