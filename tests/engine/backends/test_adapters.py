"""LoRA adapters over a base that is in memory once."""

import json
from pathlib import Path
from typing import Any

import pytest

from mlx_notebook import protocol
from mlx_notebook.engine.residency.memory_need import footprint
from tests.engine.process import EngineProcess, running
from tests.engine.residency.test_residency import load, names

TINY_CHAT = Path(protocol.__file__).parents[1] / "demo_models" / "tiny-chat"
PROMPT = protocol.TextPrompt(text="What is the capital of France?")


def write_adapter(folder: Path, *, seed: int, kind: str = "lora", model: Path = TINY_CHAT) -> Path:
    """An adapter with random weights, in the form in which mlx-lm's trainer saves one."""
    import mlx.core as mx
    from mlx.utils import tree_flatten
    from mlx_lm.tuner.utils import linear_to_lora_layers
    from mlx_lm.utils import load_model

    base, _ = load_model(model, lazy=True)
    parameters = {"rank": 4, "scale": 20.0, "dropout": 0.1}
    base.freeze()
    linear_to_lora_layers(base, 4, parameters, use_dora=kind == "dora")
    mx.random.seed(seed)
    weights = {
        name: array if name.endswith(".m") else mx.random.normal(array.shape) * 0.05
        for name, array in tree_flatten(base.trainable_parameters())
    }
    folder.mkdir()
    mx.save_safetensors(str(folder / "adapters.safetensors"), weights)
    config = {"fine_tune_type": kind, "num_layers": 4, "lora_parameters": parameters}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("adapters")
    return {
        "one": write_adapter(folder / "one", seed=1),
        "two": write_adapter(folder / "two", seed=2, kind="dora"),
    }


def ask(engine: EngineProcess, name: str, adapter: Path | None = None) -> str:
    id = f"ask {name} {len(engine.events)}"
    engine.send(
        protocol.Generate(
            id=id,
            model=name,
            path=str(TINY_CHAT),
            options=options(adapter),
            prompt=PROMPT,
            sampling=protocol.Sampling(temperature=0.0, max_tokens=16, ignore_eos=True),
        )
    )
    (end,) = engine.finish(id)
    assert isinstance(end, protocol.Done), end
    return engine.text(id)


def options(adapter: Path | None) -> protocol.ModelOptions:
    return protocol.ModelOptions(adapter=str(adapter) if adapter else None)


def mlx_lms_own(adapter: Path | None) -> str:
    import mlx.core as mx
    from mlx_lm import load, stream_generate

    model, tokenizer = load(str(TINY_CHAT), adapter_path=str(adapter) if adapter else None)
    model.set_dtype(mx.float32)
    tokenizer._eos_token_ids = set()
    tokens = tokenizer.encode(PROMPT.text)
    return "".join(r.text for r in stream_generate(model, tokenizer, tokens, max_tokens=16))


def test_answers_are_those_of_mlx_lm_with_the_same_adapter(adapters: dict[str, Path]) -> None:
    with running() as engine:
        texts = [ask(engine, "base")]
        texts += [ask(engine, f"base+{name}", path) for name, path in adapters.items()]
        assert len(set(texts)) == 3
        assert texts == [mlx_lms_own(path) for path in (None, *adapters.values())]
        assert ask(engine, "base") == texts[0]


def test_models_of_one_base_hold_its_weights_once_whoever_came_first(
    adapters: dict[str, Path],
) -> None:
    need = footprint("base", TINY_CHAT, protocol.ModelOptions())
    budget = need.base * 3 // 2 + 3 * need.kv
    with running(memory_budget=budget, prefix_cache_bytes=1) as engine:
        cold = ask(engine, "base+one", adapters["one"])
        before = engine.stats().memory.active
        base = ask(engine, "base")
        two = ask(engine, "base+two", adapters["two"])
        stats = engine.stats()
        assert {r.model for r in stats.resident} == {"base", "base+one", "base+two"}
        assert stats.memory.active - before < need.base // 4
        engine.send(protocol.Unload(id="u", model="base+one"))
        engine.wait(lambda e: isinstance(e, protocol.Unloaded))
        assert ask(engine, "base") == base
        assert ask(engine, "base+two", adapters["two"]) == two
        assert ask(engine, "base+one", adapters["one"]) == cold
        for model in names(engine):
            engine.send(protocol.Unload(id=f"u {model}", model=model))
        engine.wait(lambda e: isinstance(e, protocol.Stats) and not e.resident)
        assert engine.stats().memory.active < before - need.base // 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"adapters.safetensors": None}, "no adapters.safetensors"),
        ({"adapter_config.json": None}, "no adapter_config.json"),
        ({"adapter_config.json": b"{}"}, "lacks"),
        ({"adapters.safetensors": b"\x10"}, "cut off"),
        ({"adapters.safetensors": (2).to_bytes(8, "little") + b"{}"}, "is empty"),
    ],
)
def test_a_broken_adapter_is_told_and_its_base_stays(
    tmp_path: Path, adapters: dict[str, Path], change: dict[str, bytes | None], words: str
) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    for file in adapters["one"].iterdir():
        content = change.get(file.name, file.read_bytes())
        if content is not None:
            (folder / file.name).write_bytes(content)
    with running(warm_up=False) as engine:
        load(engine, "base", TINY_CHAT)
        failed = load(engine, "base+broken", TINY_CHAT, options=options(folder))
        assert isinstance(failed, protocol.Failed)
        assert failed.code == "model_load_failed"
        assert words in failed.message
        assert names(engine) == {"base"}


def test_an_adapter_of_another_model_is_told(tmp_path: Path, model: Path) -> None:
    foreign = write_adapter(tmp_path / "adapter", seed=3, model=model)
    with running(warm_up=False) as engine:
        failed: Any = load(engine, "base+foreign", TINY_CHAT, options=options(foreign))
        assert isinstance(failed, protocol.Failed)
        assert "its adapter does not fit" in failed.message
