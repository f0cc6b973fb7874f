"""The contenders' model never ends early, prompts share no prefix, and the raw loops run."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.contenders import ROOT, Setting, make_contenders
from benchmarks.load import Burst, make_prompts


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bench") / "model"
    command = [sys.executable, "-m", "benchmarks.model", "random", str(folder)]
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


def test_the_raw_loops_generate_exactly_the_requested_tokens(model, tmp_path):
    async def run():
        stream, batch = make_contenders(Setting(model, None, tmp_path, tmp_path), ["raw"])
        await stream.start()
        await batch.start()
        try:
            one = await stream.run(make_prompts(model, 1, 40, "s"), 12)
            three = await batch.run(make_prompts(model, 3, 40, "b"), 12)
        finally:
            killed = [*stream.stop(), *batch.stop()]
        return one, three, killed

    one, three, killed = asyncio.run(run())
    assert [sample.tokens for sample in one + three] == [12] * 4
    assert all(s.started < s.first < s.ended for s in one + three)
    assert killed == []
    figures = Burst("t", "raw", 3, 0, three).figures
    assert figures["failed"] == 0
    assert figures["total"] == pytest.approx(36 / figures["wall"])
