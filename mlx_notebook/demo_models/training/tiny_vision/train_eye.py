"""First stage: train the vision tower alone to predict what stands on each cell.

`python -m mlx_notebook.demo_models.training.tiny_vision.train_eye SHARDS EYE --minutes 30`
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from .network.dense import CellTasks
from .network.model import Eye, Shape
from .network.optimisers import Both, share
from .viewing_batches import Sights


def main() -> None:
    """Train until the time is over; continue from the checkpoint if it exists."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shards", type=Path)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--minutes", type=float, default=30, help="total training time in minutes")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--muon", type=float, default=0.02)
    parser.add_argument("--adam", type=float, default=3e-3)
    parser.add_argument("--fall", type=float, default=0.3, help="final share with falling rates")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=0, help="processes that prepare batches")
    given = parser.parse_args()
    torch.manual_seed(given.seed)
    shape = Shape()
    eye, tasks = Eye(shape).to(given.device), CellTasks(shape.hidden).to(given.device)
    training = Both((eye, tasks), given.muon, given.adam)
    spent, step = 0.0, 0
    if given.checkpoint.exists():
        saved = torch.load(given.checkpoint, weights_only=True, map_location=given.device)
        eye.load_state_dict(saved["eye"])
        tasks.load_state_dict(saved["tasks"])
        training.load(saved["training"])
        spent, step = saved["spent"], saved["step"]

    def save() -> None:
        state = {
            "eye": eye.state_dict(), "tasks": tasks.state_dict(), "training": training.state(),
            "spent": spent, "step": step,
        }  # fmt: skip
        torch.save(state, given.checkpoint.with_suffix(".part"))
        given.checkpoint.with_suffix(".part").replace(given.checkpoint)

    eye.body = torch.compile(eye.body, dynamic=True)
    mean: dict[str, float] = {}
    kept = before = time.monotonic()
    data = Sights(given.shards, given.batch, given.seed + step)
    for group in DataLoader(data, batch_size=None, num_workers=given.workers):
        done = spent / (60 * given.minutes)
        if done >= 1:
            break
        with torch.autocast(given.device, torch.bfloat16):
            out = eye(group.patches.to(given.device), group.rows, group.columns)
            loss, hits = tasks(out, group.targets.to(given.device))
        loss.backward()
        training.step(share(done, step, given.fall))
        step += 1
        for name, value in {**hits, "loss": float(loss.detach())}.items():
            mean[name] = mean.get(name, value) * 0.95 + value * 0.05
        now = time.monotonic()
        spent, before = spent + now - before, now
        if step % 50 == 0:
            figures = " ".join(f"{name} {value:.3f}" for name, value in mean.items())
            print(f"{spent:6.0f} s  step {step}  {figures}", flush=True)
        if now - kept > 60:
            kept = now
            save()
    save()


if __name__ == "__main__":
    main()
