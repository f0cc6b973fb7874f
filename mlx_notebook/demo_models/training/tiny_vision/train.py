"""Second stage: train the vision tower and the language part together on image questions.

`python -m mlx_notebook.demo_models.training.tiny_vision.train SHARDS HELD_OUT CHECKPOINT
--eye EYE --chat TINY_CHAT_FOLDER --minutes 60`
"""

from __future__ import annotations

import argparse
import random
import time
from collections import defaultdict
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader

from mlx_notebook.demo_models.training.tiny_chat import batches as text

from .folder import TOKENIZER
from .network import weights
from .network.dense import CellTasks
from .network.model import Shape, TinyVision
from .network.optimisers import Both, share
from .network.readings import losses, readings
from .pictures.shards import Picture, read_shard
from .texts import questions
from .texts.conversations import Viewing, ViewingEncoder, shown
from .viewing_batches import Example, Texts, ViewingBatch, Viewings, batch, look

SHAPE = Shape(vocabulary=2048)


class Trainer:
    """The model, its temporary cell tasks and readings, and the state of one training run."""

    def __init__(self, given: argparse.Namespace) -> None:
        torch.manual_seed(given.seed)
        self.given = given
        self.encoder = ViewingEncoder(TOKENIZER)
        self.model = TinyVision(SHAPE).to(given.device)
        self.tasks = CellTasks(SHAPE.hidden).to(given.device)
        self.readings = readings(SHAPE.hidden, SHAPE.layers).to(given.device)
        trained = (self.model, self.tasks, self.readings)
        self.training = Both(trained, given.muon, given.adam)
        self.spent, self.step = 0.0, 0
        if given.checkpoint.exists():
            saved = torch.load(given.checkpoint, weights_only=True, map_location=given.device)
            self.model.load_state_dict(saved["model"])
            self.tasks.load_state_dict(saved["tasks"])
            self.readings.load_state_dict(saved["readings"])
            self.training.load(saved["training"])
            self.spent, self.step = saved["spent"], saved["step"]
        else:
            self._start_from_parts()
        if given.compiled:
            eye, speech = self.model.visual, self.model.language_model
            eye.body = torch.compile(eye.body, dynamic=True)
            speech.body = torch.compile(speech.body, dynamic=True)

    def _start_from_parts(self) -> None:
        if self.given.weights is not None:
            self.model.load_state_dict(weights.read(self.given.weights))
        if self.given.eye is not None:
            saved = torch.load(self.given.eye, weights_only=True, map_location=self.given.device)
            self.model.visual.load_state_dict(saved["eye"])
            self.tasks.load_state_dict(saved["tasks"])
        if self.given.chat is not None:
            chat = load_file(str(self.given.chat / "model.safetensors"))
            plain = {name.removeprefix("model."): value.float() for name, value in chat.items()}
            self.model.language_model.load_state_dict(plain)

    def see_and_say(self, now: ViewingBatch) -> dict[str, Tensor]:
        """Return the losses of the answers, the cell tasks and the readings."""
        with torch.autocast(self.given.device, torch.bfloat16):
            seen, outs = look(self.model, now.groups)
            x = self.model.embed(now.tokens, seen, self.encoder.image_token)
            states = self.model.language_model.states(x.bfloat16(), now.positions)
            chosen = now.learned[:, 1:]
            logits = self.model.logits(states[-1][:, :-1][chosen])
            answers = functional.cross_entropy(logits.float(), now.tokens[:, 1:][chosen])
            total = sum(len(group.members) for group in now.groups)
            told = [
                self.tasks(out, group.targets)[0] * (len(group.members) / total)
                for out, group in zip(outs, now.groups, strict=True)
            ]
        return {
            "answers": answers, "cells": torch.stack(told).sum(),
            **losses(self.readings, states, now.marks),
        }  # fmt: skip

    def talk(self, now: text.Batch) -> Tensor:
        """Return the loss of a batch without images."""
        tokens = torch.from_numpy(now.tokens).to(self.given.device)
        weights = torch.from_numpy(now.weights).to(self.given.device)[:, 1:]
        where = torch.arange(tokens.shape[1], device=tokens.device).expand(3, *tokens.shape)
        with torch.autocast(self.given.device, torch.bfloat16):
            x = self.model.language_model.embed_tokens(tokens).bfloat16()
            hidden = self.model.language_model(x, where)
            chosen = weights > 0
            logits = self.model.logits(hidden[:, :-1][chosen])
            losses = functional.cross_entropy(
                logits.float(), tokens[:, 1:][chosen], reduction="none"
            )
        return (losses * weights[chosen]).sum() / weights.sum()

    def save(self) -> None:
        """Write a checkpoint for continuing."""
        state = {
            "model": self.model.state_dict(), "tasks": self.tasks.state_dict(),
            "readings": self.readings.state_dict(),
            "training": self.training.state(), "spent": self.spent, "step": self.step,
        }  # fmt: skip
        partial = self.given.checkpoint.with_suffix(".part")
        torch.save(state, partial)
        partial.replace(self.given.checkpoint)

    def check(self, count: int) -> str:
        """Return, by skill, the share of held-out answers with every token predicted right."""
        with torch.no_grad():
            return self._check(count)

    def _check(self, count: int) -> str:
        rng = random.Random(5)
        paths = sorted(self.given.held_out.glob("*.pickle"))
        pictures = [p for path in paths for p in read_shard(path)[:60]]
        right: dict[str, list[bool]] = defaultdict(list)
        waiting: list[tuple[str, Example]] = []
        names = [asker.__name__ for asker, _ in questions.ASKERS if asker is not questions.box]
        while len(waiting) < count:
            picture: Picture = rng.choice(pictures)
            asked = questions.ask(picture.scene, rng, names[len(waiting) % len(names)])
            if asked is None:
                continue
            question = shown(asked.question, 1, rng)
            answer = {"role": "assistant", "content": asked.answer}
            document = self.encoder.encode(Viewing([question, answer], [], [picture]))
            waiting.append((asked.skill, Example(document, [picture])))
        for start in range(0, count, 40):
            members = waiting[start : start + 40]
            now = batch([example for _, example in members], self.encoder.image_token)
            now = now.to(self.given.device)
            with torch.autocast(self.given.device, torch.bfloat16):
                seen, _ = look(self.model, now.groups)
                x = self.model.embed(now.tokens, seen, self.encoder.image_token)
                hidden = self.model.language_model(x.bfloat16(), now.positions)
                guess = self.model.logits(hidden).argmax(-1)
            wrong = (guess[:, :-1] != now.tokens[:, 1:]) & now.learned[:, 1:]
            for (skill, _), bad in zip(members, wrong.any(1).tolist(), strict=True):
                right[skill].append(not bad)
        everything = [hit for hits in right.values() for hit in hits]
        told = "  ".join(f"{skill} {sum(h) / len(h):.0%}" for skill, h in sorted(right.items()))
        return f"all {sum(everything) / len(everything):.1%}  {told}"

    def run(self) -> None:
        """Train until the time is over."""
        given = self.given
        seed = given.seed + self.step
        # Two thirds of the workers prepare documents with images.
        texts = min(given.workers, max(1, given.workers // 3)) if given.workers else 0
        viewings = DataLoader(
            Viewings(given.shards, TOKENIZER, given.tokens, seed, given.comparisons),
            batch_size=None, num_workers=given.workers - texts,
        )  # fmt: skip
        words = iter(
            DataLoader(
                Texts(TOKENIZER, given.text_tokens, seed), batch_size=None, num_workers=texts
            )
        )
        mean: dict[str, float] = {}
        weights_of = {"answers": 1.0, "cells": given.cells}
        kept = checked = before = time.monotonic()
        for now in viewings:
            done = self.spent / (60 * given.minutes)
            if done >= 1:
                break
            found = self.see_and_say(now.to(given.device))
            weighed = [weights_of.get(name, given.readings) * x for name, x in found.items()]
            torch.stack(weighed).sum().backward()
            told = {name: float(loss.detach()) for name, loss in found.items()}
            if given.text_every and self.step % given.text_every == 0:
                talked = self.talk(next(words))
                (talked * 0.5).backward()
                told["text"] = float(talked.detach())
            self.training.step(share(done, self.step, given.fall))
            self.step += 1
            for name, value in told.items():
                mean[name] = 0.95 * mean.get(name, value) + 0.05 * value
            clock = time.monotonic()
            self.spent, before = self.spent + clock - before, clock
            if self.step % 25 == 0:
                line = " ".join(f"{name} {value:.3f}" for name, value in mean.items())
                print(f"{self.spent:6.0f} s  step {self.step}  {line}", flush=True)
            if clock - kept > 90:
                kept = clock
                self.save()
            if clock - checked > 60 * given.check_minutes:
                checked = clock
                print("held out: " + self.check(270), flush=True)
        self.save()
        print("held out: " + self.check(540), flush=True)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shards", type=Path)
    parser.add_argument("held_out", type=Path, help="shards of images for checks only")
    parser.add_argument("checkpoint", type=Path, help="continue from it if it exists")
    parser.add_argument("--eye", type=Path, help="start from this checkpoint of train_eye")
    parser.add_argument("--chat", type=Path, help="start from the weights in this tiny-chat folder")
    parser.add_argument("--weights", type=Path, help="continue from an exported folder")
    parser.add_argument("--minutes", type=float, default=60, help="total training time in minutes")
    parser.add_argument("--tokens", type=int, default=6144, help="tokens per image batch")
    parser.add_argument("--text-tokens", type=int, default=4096, help="tokens per text batch")
    parser.add_argument("--text-every", type=int, default=2, help="steps between text batches")
    parser.add_argument("--cells", type=float, default=0.15, help="weight of the cell tasks")
    parser.add_argument("--readings", type=float, default=0.5, help="weight of each reading")
    parser.add_argument(
        "--comparisons", type=float, default=0.2, help="share of documents with comparisons only"
    )
    parser.add_argument("--muon", type=float, default=0.006)
    parser.add_argument("--adam", type=float, default=1e-3)
    parser.add_argument("--fall", type=float, default=0.4, help="final share with falling rates")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--check-minutes", type=float, default=5)
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=0, help="processes that prepare batches")
    Trainer(parser.parse_args()).run()


if __name__ == "__main__":
    main()
