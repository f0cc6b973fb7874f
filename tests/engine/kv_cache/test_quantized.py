"""Keys and values in few bits: rows one after the other, reused and kept like all others."""

from pathlib import Path

import pytest

from mlx_notebook import protocol
from tests.engine.process import EngineProcess, running
from tests.tiny_models.models import gemma3, qwen3

PROMPT = "Every good prompt is long enough to be worth keeping. " * 12


def start(engine: EngineProcess, path: Path, number: int, text: str, **options: object) -> str:
    request = f"q{number}"
    engine.send(
        protocol.Generate(
            id=request,
            model=path.name,
            path=str(path),
            options=protocol.ModelOptions(**{"kv_bits": 8, **options}),
            prompt=protocol.TextPrompt(text=text),
            sampling=protocol.Sampling(temperature=0.0, max_tokens=20, ignore_eos=True),
        )
    )
    return request


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return qwen3(tmp_path_factory.mktemp("quantized") / "wide", head_dim=64)


def test_rows_wait_for_each_other_and_reuse_what_was_computed(model: Path, tmp_path: Path) -> None:
    disk = {"prefix_disk_path": str(tmp_path / "disk"), "prefix_disk_bytes": 10**9}
    first = EngineProcess(**disk)
    alone = start(first, model, 0, PROMPT)
    (end,) = first.finish(alone)
    assert isinstance(end, protocol.Done), end
    many = [start(first, model, number, PROMPT) for number in range(1, 5)]
    ends = first.finish(*many)
    assert all(isinstance(e, protocol.Done) and e.usage.cached >= e.usage.prompt - 2 for e in ends)
    assert {first.text(request) for request in many} == {first.text(alone)}
    text = first.text(alone)
    assert first.stop() == 0
    with running(**disk) as second:
        guessed = start(second, model, 9, PROMPT, prompt_lookup=4)
        (end,) = second.finish(guessed)
        assert isinstance(end, protocol.Done)
        assert end.usage.cached > end.usage.prompt // 2
        assert second.text(guessed) == text


def test_it_costs_a_quarter_of_the_memory(model: Path) -> None:
    sizes = []
    for bits in (None, 8, 4):
        with running() as engine:
            (end,) = engine.finish(start(engine, model, 0, PROMPT, kv_bits=bits))
            assert isinstance(end, protocol.Done)
            sizes.append(engine.stats().memory.prefixes)
    assert sizes[1] < 0.32 * sizes[0]  # fp32 on a CPU; 8 bits and two numbers a group
    assert sizes[2] < 0.6 * sizes[1]


def test_what_mlx_lm_cannot_quantise_is_refused(tmp_path: Path) -> None:
    with running() as engine:
        for number, path in enumerate([gemma3(tmp_path / "g"), qwen3(tmp_path / "q")]):
            (end,) = engine.finish(start(engine, path, number, "hi"))
            assert isinstance(end, protocol.Failed)
            assert "kv_bits" in end.message
