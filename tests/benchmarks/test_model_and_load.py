"""The contenders' model never ends early, prompts share no prefix, and the raw loops run."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.harness.contenders import ROOT, Setting, make_contenders
from benchmarks.harness.load import Burst, Request, Sample, make_prompts, percentile, poisson


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bench") / "model"
    command = [sys.executable, "-m", "benchmarks.models.model", "random", str(folder)]
    subprocess.run([*command, "--dtype", "float32"], check=True, cwd=ROOT)
    return folder


def test_the_end_token_is_new_to_the_model(model):
    config = json.loads((model / "config.json").read_text())
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    source = json.loads((model.with_name("model-source") / "config.json").read_text())
    assert config["eos_token_id"] == source["vocab_size"]
    assert config["vocab_size"] == source["vocab_size"] + 1
    assert tokenizer["added_tokens"][-1]["id"] == config["eos_token_id"]


def test_prompts_have_about_the_requested_length_and_differ_between_bursts(model):
    from tokenizers import Tokenizer

    first = make_prompts(model, 4, 120, "one")
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    for prompt in first:
        assert 100 <= len(tokenizer.encode(prompt).ids) <= 120
    assert make_prompts(model, 4, 120, "one") == first
    assert not set(make_prompts(model, 4, 120, "two")) & set(first)


def test_a_long_prompt_has_about_the_requested_length(model):
    from tokenizers import Tokenizer

    (prompt,) = make_prompts(model, 1, 3000, "long")
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    assert 2900 <= len(tokenizer.encode(prompt).ids) <= 3000


def test_requests_arrive_at_the_requested_rate():
    times = poisson(2000, 5.0, "a")
    assert times == sorted(times)
    assert times[0] == 0.0
    assert 2000 / times[-1] == pytest.approx(5.0, rel=0.1)
    assert poisson(5, 5.0, "a") == times[:5]
    assert poisson(5, 5.0, "b") != times[:5]


def test_the_raw_loops_generate_exactly_the_requested_tokens(model, tmp_path):
    async def run():
        stream, batch, wide = make_contenders(Setting(model, None, tmp_path, tmp_path), ["raw"])
        await stream.start()
        await batch.start()
        await wide.start()
        try:
            one = await stream.run(make_prompts(model, 1, 40, "s"), 12)
            three = await batch.run(make_prompts(model, 3, 40, "b"), 12)
            prompts = make_prompts(model, 3, 40, "w")
            late = await wide.send(
                [Request(p, 12, delay) for p, delay in zip(prompts, (0, 0, 0.2), strict=True)]
            )
            *begun, joined = await batch.send(
                [
                    *(Request(p, 12) for p in make_prompts(model, 2, 40, "r")),
                    Request("Hello", 2, late=True),
                ]
            )
        finally:
            killed = [*stream.stop(), *batch.stop(), *wide.stop()]
        return one, three, late, begun, joined, killed

    one, three, late, begun, joined, killed = asyncio.run(run())
    assert [sample.tokens for sample in one + three + late] == [12] * 7
    assert all(s.started < s.first < s.ended for s in one + three + late)
    assert late[2].started == pytest.approx(late[0].started + 0.2)
    assert [len(sample.times) for sample in late] == [12] * 3
    assert killed == []
    assert joined.started >= max(running.first for running in begun)
    figures = Burst("t", "raw", 3, 0, three).figures
    assert figures["failed"] == 0
    assert figures["total"] == pytest.approx(36 / figures["wall"])


def test_a_raw_loop_that_was_given_up_answers_the_next_job(model, tmp_path):
    async def run():
        (_, batch, _) = make_contenders(Setting(model, None, tmp_path, tmp_path), ["raw"])
        await batch.start()
        try:
            endless = asyncio.create_task(batch.run(make_prompts(model, 2, 40, "e"), 100_000))
            await asyncio.sleep(0)
            endless.cancel()
            await asyncio.gather(endless, return_exceptions=True)
            return await batch.run(make_prompts(model, 2, 40, "n"), 5)
        finally:
            batch.stop()

    assert [sample.tokens for sample in asyncio.run(run())] == [5, 5]


def test_a_pause_is_the_longest_time_without_text_after_a_moment():
    sample = Sample(0.0, 1.0, 9.0, 1, 0, 4, times=(1.0, 4.0, 5.0, 7.0))
    assert sample.pause() == 3.0
    assert sample.pause(since=3.0) == 2.0
    assert sample.pause(since=7.0) is None
    assert percentile([4.0, 1.0, 3.0, 2.0], 0.5) == 2.0
    assert percentile([4.0, 1.0, 3.0, 2.0], 0.95) == 4.0
