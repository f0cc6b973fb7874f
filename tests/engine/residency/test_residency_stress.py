"""Loads, swaps, unloads and requests at random, under a budget of one and a half models.

`STRESS_OPERATIONS` sets their number (200).
"""

import os
import random
import time
from pathlib import Path

import msgspec
import pytest

from mlx_notebook import protocol
from mlx_notebook.engine.residency.memory_need import footprint
from tests.engine.process import EngineProcess, running
from tests.tiny_models.models import qwen3

CLIENTS = 8
OPERATIONS = int(os.environ.get("STRESS_OPERATIONS", "200"))
ANSWERS = (
    protocol.Done,
    protocol.Failed,
    protocol.Loaded,
    protocol.Unloaded,
    protocol.Tokenized,
    protocol.Embedded,
)


class Clients:
    """Eight clients, each with one thing at a time."""

    def __init__(self, engine: EngineProcess, models: dict[str, Path], seed: int):
        self.engine, self.models = engine, models
        self.random = random.Random(seed)
        self.begun = 0
        self.open: dict[str, protocol.Command] = {}
        self.ends: dict[str, protocol.Event | None] = {}

    def run(self, count: int) -> None:
        seen = 0
        end = time.monotonic() + 60 + count
        while self.begun < count or self.open:
            while self.begun < count and len(self.open) < CLIENTS:
                self.begin()
            self.engine.wait(lambda e: isinstance(e, (protocol.Stats, *ANSWERS)))
            for event in self.engine.events[seen:]:
                if isinstance(event, ANSWERS):
                    self.answered(event)
            seen = len(self.engine.events)
            assert time.monotonic() < end, f"open: {self.open}"

    def answered(self, event: protocol.Event) -> None:
        assert not isinstance(event, protocol.Ready | protocol.Stats)
        assert event.id not in self.ends or self.ends[event.id] is None, "answered twice"
        self.ends[event.id] = event
        self.open.pop(event.id, None)

    def begin(self) -> None:
        self.begun += 1
        command = self.command(f"s{self.begun}")
        if isinstance(command, protocol.Generate | protocol.Load) and self.random.random() < 0.15:
            self.engine.send(command)
            time.sleep(self.random.choice([0, 0.01, 0.05]))
            self.engine.send(protocol.Cancel(command.id))
            self.ends[command.id] = None  # answered by nothing, or just before
            return
        self.open[command.id] = command
        self.engine.send(command)

    def command(self, id: str) -> protocol.Command:
        name = self.random.choice(list(self.models))
        path = str(self.models[name])
        kind = self.random.choices(
            ["generate", "load", "unload", "tokenize", "embed"], [12, 3, 3, 1, 1]
        )[0]
        if kind == "load":
            return protocol.Load(
                id=id, model=name, path=path, pin=self.random.choice([None, False])
            )
        if kind == "unload":
            return protocol.Unload(id=id, model=name)
        if kind == "tokenize":
            return protocol.Tokenize(
                id=id, model=name, path=path, prompt=protocol.TextPrompt(text="some text")
            )
        if kind == "embed":
            return protocol.Embed(id=id, model=name, path=path, inputs=["one", "two"])
        text = "again and again " * self.random.randint(1, 60)
        return protocol.Generate(
            id=id,
            model=name,
            path=path,
            prompt=protocol.ChatPrompt(messages=[{"role": "user", "content": text}]),
            sampling=protocol.Sampling(max_tokens=self.random.randint(1, 60), ignore_eos=True),
            n=self.random.choice([1, 1, 2]),
        )


@pytest.mark.parametrize("seed", [1])
def test_everything_ends_in_an_answer_and_the_memory_returns(tmp_path: Path, seed: int) -> None:
    sound = {name: qwen3(tmp_path / name, seed=i) for i, name in enumerate("abc")}
    broken = qwen3(tmp_path / "broken")
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    large = qwen3(tmp_path / "large", hidden_size=512, intermediate_size=2048)
    budget = int(footprint("a", sound["a"], protocol.ModelOptions()).total * 1.5)
    with running(memory_budget=budget, swap_patience=0.1, prefix_cache_entries=4) as engine:
        (end,) = engine.finish(engine.start("a", sound["a"], "first", max_tokens=2))
        assert isinstance(end, protocol.Done)
        engine.send(protocol.Unload(id="before", model="a"))
        engine.wait(lambda e: isinstance(e, protocol.Unloaded) and e.id == "before")
        before = engine.stats().memory.active
        clients = Clients(engine, {**sound, "broken": broken, "large": large}, seed)
        clients.run(OPERATIONS)
        stated = {"model_load_failed", "insufficient_memory", "invalid_request"}
        for event in clients.ends.values():
            assert not isinstance(event, protocol.Failed) or event.code in stated, event
        assert (
            sum(isinstance(event, protocol.Done) for event in clients.ends.values())
            > OPERATIONS / 5
        )
        limit = time.monotonic() + 20
        while (stats := engine.stats()).requests or any(r.active for r in stats.resident):
            assert time.monotonic() < limit, msgspec.to_builtins(stats)
        for resident in stats.resident:
            engine.send(protocol.Unload(id=f"after {resident.model}", model=resident.model))
            engine.wait(lambda e: isinstance(e, protocol.Unloaded) and e.id.startswith("after"))
        after = engine.stats()
        assert not after.resident
        assert not after.loading
        assert after.memory.active <= before + 100_000
