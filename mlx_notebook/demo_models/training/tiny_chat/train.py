"""Train tiny-chat, or continue from its checkpoint if there is one.

``python -m mlx_notebook.demo_models.training.tiny_chat.train TOKENIZER CHECKPOINTS --minutes 80``
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from random import Random

import torch
from safetensors.torch import load_file
from torch.nn import functional

from . import dialogues
from .batches import Batch, Encoder, _batch, batches
from .dialogues import Difficulty
from .export import export
from .lexicon import HELD_OUT
from .model import Shape, Trunk, rotary
from .muon import Optimizer

MUON_RATE, ADAM_RATE = 0.02, 3e-3
WARM_UP, DECAY = 40, 0.5
SEED = 20


def rate_at(progress: float, step: int) -> float:
    """Return the factor of the learning rates.

    It warms up, stays constant, then falls linearly to zero over the last half.
    """
    return min(1.0, (step + 1) / WARM_UP) * min(1.0, (1.0 - progress) / DECAY + 0.01)


class Trainer:
    """One training run; its length is set in minutes, so that it suits any machine."""

    def __init__(
        self,
        tokenizer: Path,
        folder: Path,
        minutes: float,
        batch: int,
        compiled: bool,
        weights: Path | None = None,
    ) -> None:
        torch.manual_seed(SEED)
        self.folder, self.seconds, self.size = folder, minutes * 60, batch
        self.shape = Shape()
        self.encoder = Encoder(tokenizer)
        self.model = Trunk(self.shape, compiled).bfloat16()
        self.optimizer = Optimizer(self.model)
        self.cos, self.sin = rotary(self.shape.max_position_embeddings, self.shape)
        self.spent, self.tokens, self.learned, self.step = 0.0, 0, 0, 0
        self.checkpoint = folder / "checkpoint.pt"
        if self.checkpoint.exists():
            state = torch.load(self.checkpoint, weights_only=True)
            self.optimizer.load(state["optimizer"])
            self.spent, self.tokens, self.learned, self.step = (
                state[name] for name in ("spent", "tokens", "learned", "step")
            )
        elif weights is not None:
            self.optimizer.start_from(load_file(weights / "model.safetensors"))

    def progress(self) -> float:
        """Return the elapsed share of the training time, from 0 to 1."""
        return min(1.0, self.spent / self.seconds)

    def hidden(self, batch: Batch) -> torch.Tensor:
        tokens = torch.from_numpy(batch.tokens)
        length = tokens.shape[1]
        hidden: torch.Tensor = self.model(tokens, self.cos[:length], self.sin[:length])
        return hidden

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the weighted cross-entropy of the next tokens, in nats."""
        hidden = self.hidden(batch)[:, :-1].reshape(-1, self.shape.hidden_size)
        targets = torch.from_numpy(batch.tokens)[:, 1:].reshape(-1)
        weights = torch.from_numpy(batch.weights)[:, 1:].reshape(-1)
        chosen = weights.nonzero()[:, 0]
        logits = functional.linear(hidden[chosen], self.model.embed_tokens.weight).float()
        losses = functional.cross_entropy(logits, targets[chosen], reduction="none")
        self.learned += int((weights == 1).sum())
        return (losses * weights[chosen]).sum() / weights.sum()

    def save(self) -> None:
        """Write a checkpoint for continuing, and the exported model."""
        self.folder.mkdir(parents=True, exist_ok=True)
        state = {"optimizer": self.optimizer.state()} | {
            name: getattr(self, name) for name in ("spent", "tokens", "learned", "step")
        }
        torch.save(state, self.checkpoint.with_suffix(".part"))
        self.checkpoint.with_suffix(".part").replace(self.checkpoint)
        export(self.optimizer.masters, self.shape, self.folder)

    def held_out(self, count: int = 40) -> str:
        """Return, by kind, the share of held-out messages with every token predicted right.

        Each token is predicted from the right tokens before it.
        """
        with torch.no_grad():
            return self._held_out(count)

    def _held_out(self, count: int) -> str:
        rng = Random(1)
        right: dict[str, list[bool]] = defaultdict(list)
        level = Difficulty(everyday=0.3, tools=(1, 2, 3, 4), thinking=0.0)
        for i in range(count):
            dialogue = (dialogues.chat_dialogue if i % 4 == 0 else dialogues.tool_dialogue)(
                rng, HELD_OUT, level
            )
            document = self.encoder.encode(dialogue)
            batch = _batch([document], 0.0, rng)
            logits = functional.linear(self.hidden(batch)[0], self.model.embed_tokens.weight)
            guesses = logits.argmax(-1).tolist()
            kinds = iter(
                message | {"after": before["role"]}
                for before, message in pairwise(dialogue.messages)
                if message["role"] == "assistant"
            )
            correct, inside = True, False
            for j, learned in enumerate(document.learned):
                if learned:
                    inside, correct = (
                        True,
                        (correct if inside else True) and guesses[j - 1] == document.tokens[j],
                    )
                elif inside:
                    message = next(kinds)
                    while not message["learn"]:
                        message = next(kinds)
                    calls = len(message.get("tool_calls", ()))
                    if calls == 1:
                        name = f"call of {min(4, len(dialogue.tools))}"
                    elif calls == 2:
                        name = "two calls"
                    else:
                        name = (
                            "result"
                            if message["after"] == "tool"
                            else "chat"
                            if not dialogue.tools
                            else "no tool"
                        )
                    right[name].append(correct)
                    inside = False
        return "  ".join(
            f"{name} {sum(r) / len(r):.0%} ({len(r)})" for name, r in sorted(right.items())
        )

    def run(self, report_seconds: float) -> None:
        """Train until the time is over."""
        self.encoder.tokenizer.deprecation_warnings[
            "sequence-length-is-longer-than-the-specified-maximum"
        ] = True
        source = batches(self.encoder, Random(f"{SEED} {self.step}"), self.progress, self.size)
        mean, reported, saved, before = 0.0, time.monotonic(), self.spent, time.monotonic()
        while self.progress() < 1:
            batch = next(source)
            loss = self.loss(batch)
            loss.backward()
            rate = rate_at(self.progress(), self.step)
            self.optimizer.step(MUON_RATE * rate, ADAM_RATE * rate)
            self.step += 1
            self.tokens += batch.tokens.size
            now = time.monotonic()
            self.spent, before = self.spent + now - before, now
            mean = 0.98 * mean + 0.02 * loss.item() if mean else loss.item()
            if now - reported > report_seconds:
                reported = now
                print(
                    f"{self.progress():.3f} step {self.step} "
                    f"tokens {self.tokens / 1e6:.2f} M loss {mean:.3f}",
                    flush=True,
                )
            if self.spent - saved > 240:
                saved = self.spent
                self.save()
                print("held out: " + self.held_out(), flush=True)
        self.save()
        print("held out: " + self.held_out(120), flush=True)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("checkpoints", type=Path)
    parser.add_argument("--minutes", type=float, default=80)
    parser.add_argument("--batch", type=int, default=4096, help="tokens per batch")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--report-seconds", type=float, default=30)
    parser.add_argument("--eager", action="store_true", help="do not use torch.compile")
    parser.add_argument("--weights", type=Path, help="folder of a model to start from")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    trainer = Trainer(
        arguments.tokenizer,
        arguments.checkpoints,
        arguments.minutes,
        arguments.batch,
        not arguments.eager,
        arguments.weights,
    )
    trainer.run(arguments.report_seconds)


if __name__ == "__main__":
    main()
