"""Train tiny-chat, or continue from its checkpoint if there is one.

First stage, from random weights::

    python -m mlx_notebook.demo_models.training.tiny_chat.train TOKENIZER CHECKPOINTS --tokens 24

Second stage, the choice among several tools, from the weights of the first::

    python -m mlx_notebook.demo_models.training.tiny_chat.train TOKENIZER CHECKPOINTS \\
        --stage choosing --weights mlx_notebook/demo_models/tiny-chat --tokens 40 --minutes 60

The same command goes on from the checkpoint: ``--tokens`` is the whole run, in millions, and sets
the fall of the rates; ``--minutes`` ends one session. Ctrl+C or SIGTERM saves and ends it too.
Where the time is fixed, ``--run-minutes`` ends the whole run, and the rates fall in time.

Last stage, a few minutes for sentences that say two things, from the weights of the second::

    ... --stage finishing --weights FOLDER --tokens 0.25 --batch 2048 --rate 0.08 --readings 0 \\
        --averaged 0.9

On a GPU, with worker processes that write the texts::

    ... --device cuda --workers 12 --batch 32768 --rate 1 --tokens 1000 --run-minutes 8
"""

from __future__ import annotations

import argparse
import signal
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from random import Random

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from .batches import (
    Batch,
    Encoder,
    batches,
    choosing_level,
    choosing_mixture,
    finishing_mixture,
    level_at,
    mixture,
)
from .checks import checked_batches
from .export import export
from .feeding import Feeder
from .network.model import Shape, States, Trunk, rotary
from .network.muon import AVERAGED, Optimizer
from .network.readings import Readings

MUON_RATE, ADAM_RATE = 0.02, 3e-3
READING_RATE = 2e-3
WARM_UP = 40
SEED = 20
PRECISIONS = {"bfloat16": torch.bfloat16, "float32": torch.float32}
STAGES = {
    "first": (mixture, level_at, 0.5),
    "choosing": (choosing_mixture, choosing_level, 0.4),
    "finishing": (finishing_mixture, choosing_level, 0.6),
}
"""By stage: mixture and difficulty of the documents, and the final share with falling rates."""


def rate_at(progress: float, step: int, decay: float = 0.5) -> float:
    """Return the factor of the learning rates.

    It warms up, stays constant, then falls linearly to zero over the last share `decay`.
    """
    return min(1.0, (step + 1) / WARM_UP) * min(1.0, (1.0 - progress) / decay + 0.01)


class Trainer:
    """One training run; its length is set in tokens, so that sessions of any length add up."""

    def __init__(self, given: argparse.Namespace) -> None:
        torch.manual_seed(SEED)
        self.given = given
        self.folder: Path = given.checkpoints
        self.shape = Shape()
        self.encoder = Encoder(given.tokenizer)
        self.device = torch.device(given.device)
        self.model = Trunk(self.shape, not given.eager).to(self.device, PRECISIONS[given.precision])
        self.readings = Readings(self.shape.hidden_size, self.shape.num_hidden_layers)
        self.readings.to(self.device)
        self.optimizer = Optimizer(self.model, averaged=given.averaged)
        self.reader = torch.optim.Adam(self.readings.parameters(), READING_RATE, betas=(0.9, 0.99))
        self.cos, self.sin = (
            table.to(self.device)
            for table in rotary(self.shape.max_position_embeddings, self.shape)
        )
        self.spent, self.tokens, self.step = 0.0, 0, 0
        self.ending = False
        self.checkpoint = self.folder / "checkpoint.pt"
        if self.checkpoint.exists():
            state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
            self.optimizer.load(state["optimizer"])
            self.readings.load_state_dict(state["readings"])
            self.reader.load_state_dict(state["reader"])
            self.spent, self.tokens, self.step = (
                state[name] for name in ("spent", "tokens", "step")
            )
        elif given.weights is not None:
            self.optimizer.start_from(load_file(given.weights / "model.safetensors"))

    def progress(self) -> float:
        """Return the share of the training that is done, from 0 to 1: of its tokens or its time."""
        tokens = self.tokens / (self.given.tokens * 1e6)
        return float(min(1.0, max(tokens, self.spent / 60 / self.given.run_minutes)))

    def states(self, batch: Batch) -> States:
        """Return what all layers compute."""
        tokens = torch.from_numpy(batch.tokens).to(self.device)
        length = tokens.shape[1]
        found: States = self.model.states(tokens, self.cos[:length], self.sin[:length])
        return found

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy of the next tokens and each reading's loss, in nats."""
        states = self.states(batch)
        weights = torch.from_numpy(batch.weights).to(self.device)[:, 1:].reshape(-1)
        chosen = weights.nonzero()[:, 0]
        hidden = states.outputs[-1][:, :-1].reshape(-1, self.shape.hidden_size)[chosen]
        logits = functional.linear(self.model.normed(hidden), self.model.embed_tokens.weight)
        targets = torch.from_numpy(batch.tokens).to(self.device)[:, 1:].reshape(-1)[chosen]
        losses = functional.cross_entropy(logits.float(), targets, reduction="none")
        next_tokens = (losses * weights[chosen]).sum() / weights.sum()
        return {"next": next_tokens, **self.readings(states, batch.marks)}

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """Do one step; return the losses."""
        losses = self.losses(batch)
        total = losses["next"]
        for name, loss in losses.items():
            if name != "next":
                total = total + self.given.readings * loss
        total.backward()
        rate = rate_at(self.progress(), self.step, STAGES[self.given.stage][2])
        rate *= self.given.rate
        self.optimizer.step(MUON_RATE * rate, ADAM_RATE * rate)
        self.reader.step()
        self.reader.zero_grad()
        self.step += 1
        self.tokens += batch.tokens.size
        return {name: loss.detach() for name, loss in losses.items()}

    def save(self) -> None:
        """Write a checkpoint for continuing, and the exported model with averaged weights."""
        self.folder.mkdir(parents=True, exist_ok=True)
        state = {
            "optimizer": self.optimizer.state(),
            "readings": self.readings.state_dict(),
            "reader": self.reader.state_dict(),
        } | {name: getattr(self, name) for name in ("spent", "tokens", "step")}
        torch.save(state, self.checkpoint.with_suffix(".part"))
        self.checkpoint.with_suffix(".part").replace(self.checkpoint)
        export(self.optimizer.average, self.shape, self.folder)

    def held_out(self, each: int) -> str:
        """Return, by skill, the share of the evaluation's cases that the averaged weights solve.

        For calls it also returns how uncertain the names are, in nats per call.
        """
        right: dict[str, list[bool]] = defaultdict(list)
        nats: dict[str, list[float]] = defaultdict(list)
        self.optimizer.show_average()
        with torch.no_grad():
            for skills, batch in checked_batches(self.encoder, each):
                learned = torch.from_numpy(batch.weights).to(self.device)[:, 1:] == 1
                hidden = self.model.normed(self.states(batch).outputs[-1][:, :-1][learned])
                logits = functional.linear(hidden, self.model.embed_tokens.weight).float()
                targets = torch.from_numpy(batch.tokens).to(self.device)[:, 1:][learned]
                wrong = torch.zeros_like(learned)
                wrong[learned] = logits.argmax(-1) != targets
                lost = torch.zeros(learned.shape, device=self.device)
                lost[learned] = functional.cross_entropy(logits, targets, reduction="none")
                for skill, bad in zip(skills, wrong.any(1).tolist(), strict=True):
                    right[skill].append(not bad)
                for row, before, after in batch.marks.names[:, (0, 1, 3)].tolist():
                    nats[skills[row]].append(float(lost[row, before:after].sum()))
        self.optimizer.show_masters()
        return "  ".join(
            f"{skill} {sum(hits) / len(hits):.0%} ({len(hits)})"
            + (f" {sum(nats[skill]) / len(nats[skill]):.3f}" if skill in nats else "")
            for skill, hits in sorted(right.items())
        )

    def end(self, *_: object) -> None:
        """End the training after this step."""
        self.ending = True

    def run(self) -> None:
        """Train until the tokens or the session's minutes are over, or somebody ends it."""
        given = self.given
        self.encoder.tokenizer.deprecation_warnings[
            "sequence-length-is-longer-than-the-specified-maximum"
        ] = True
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.end)
        mixed, levelled, _ = STAGES[given.stage]
        seed = f"{SEED} {self.step}"
        feeder = None
        if given.workers:
            feeder = Feeder(given.workers, given.tokenizer, seed, given.batch, mixed, levelled)
            source = feeder.batches(self.progress)
        else:
            source = batches(
                self.encoder, Random(seed), self.progress, given.batch,
                mixed=mixed, levelled=levelled,
            )  # fmt: skip
        self.follow(source)
        if feeder is not None:
            feeder.end()
        self.save()
        if not self.ending:
            print(f"held out at {self.tokens / 1e6:.2f} M: {self.held_out(100)}", flush=True)

    def follow(self, source: Iterator[Batch]) -> None:
        """Train on the batches, with reports, checks and checkpoints between them."""
        given = self.given
        mean: dict[str, Tensor] = {}
        began = reported = saved = checked = before = time.monotonic()
        while self.progress() < 1 and not self.ending and before - began < given.minutes * 60:
            for name, value in self.update(next(source)).items():
                mean[name] = 0.98 * mean.get(name, value) + 0.02 * value
            now = time.monotonic()
            self.spent, before = self.spent + now - before, now
            if now - reported > given.report_seconds:
                reported = now
                told = " ".join(f"{name} {float(value):.4f}" for name, value in mean.items())
                print(
                    f"{self.progress():.3f} step {self.step} tokens {self.tokens / 1e6:.2f} M "
                    f"{self.spent / 60:.1f} min {told}",
                    flush=True,
                )
            if now - saved > 120:
                saved = now
                self.save()
            if now - checked > given.check_minutes * 60:
                checked = now
                self.save()
                print(f"held out at {self.tokens / 1e6:.2f} M: {self.held_out(40)}", flush=True)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    found = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found.add_argument("tokenizer", type=Path)
    found.add_argument("checkpoints", type=Path)
    found.add_argument("--stage", choices=sorted(STAGES), default="first")
    found.add_argument("--weights", type=Path, help="folder of a model to start from")
    found.add_argument("--tokens", type=float, default=24, help="length of the run in millions")
    found.add_argument("--run-minutes", type=float, default=1e9, help="length of the run in time")
    found.add_argument("--minutes", type=float, default=1e9, help="end this session after them")
    found.add_argument("--batch", type=int, default=4096, help="tokens per batch")
    found.add_argument("--rate", type=float, default=1.0, help="factor of the learning rates")
    found.add_argument("--readings", type=float, default=0.2, help="weight of each reading")
    found.add_argument("--averaged", type=float, default=AVERAGED, help="see muon.py")
    found.add_argument("--device", default="cpu", help="torch device, such as cuda")
    found.add_argument(
        "--precision", choices=sorted(PRECISIONS), default="bfloat16",
        help="float32 is faster on processors without instructions for bfloat16",
    )  # fmt: skip
    found.add_argument("--workers", type=int, default=0, help="processes that write the texts")
    found.add_argument("--threads", type=int, default=1)
    found.add_argument("--report-seconds", type=float, default=30)
    found.add_argument("--check-minutes", type=float, default=8)
    found.add_argument("--eager", action="store_true", help="do not use torch.compile")
    return found


def main() -> None:
    """Run the command line."""
    arguments = parser().parse_args()
    torch.set_num_threads(arguments.threads)
    Trainer(arguments).run()


if __name__ == "__main__":
    main()
