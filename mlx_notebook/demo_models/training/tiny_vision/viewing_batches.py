"""Batches of documents with images; worker processes prepare them during training."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from mlx_notebook.demo_models.training.tiny_chat import batches as text
from mlx_notebook.demo_models.training.tiny_chat.texts import dialogues

from .network.dense import targets
from .network.model import TinyVision
from .network.positions import positions
from .network.readings import NAMES, Marks, marked
from .pictures.pixels import CELL, PATCH, patches
from .pictures.shards import Picture, mirrored, read_shard
from .texts import conversations
from .texts.conversations import Viewing, ViewingDocument, ViewingEncoder


@dataclass
class Example:
    """One document with its images."""

    document: ViewingDocument
    pictures: list[Picture]


@dataclass
class Group:
    """Images of one size; `members` are their indices in the reading order of the batch."""

    rows: int
    columns: int
    patches: Tensor
    targets: Tensor
    members: list[int]


@dataclass
class ViewingBatch:
    """Padded documents: tokens and learned (rows, length), positions (3, rows, length)."""

    tokens: Tensor
    learned: Tensor
    positions: Tensor
    groups: list[Group]
    marks: Marks

    def to(self, device: str) -> ViewingBatch:
        """Return the batch on another device."""
        groups = [
            Group(g.rows, g.columns, g.patches.to(device), g.targets.to(device), g.members)
            for g in self.groups
        ]
        marks = {name: (at.to(device), told.to(device)) for name, (at, told) in self.marks.items()}
        return ViewingBatch(
            self.tokens.to(device),
            self.learned.to(device),
            self.positions.to(device),
            groups,
            marks,
        )


def grouped(pictures: Sequence[Picture]) -> list[Group]:
    """Return the images as patches and cell targets, grouped by size."""
    sizes: dict[tuple[int, int], list[int]] = {}
    for i, picture in enumerate(pictures):
        height, width = picture.pixels.shape[:2]
        sizes.setdefault((height, width), []).append(i)
    groups = []
    for (height, width), members in sizes.items():
        seen = np.stack([patches(pictures[i].pixels) for i in members])
        wanted = np.stack([targets(pictures[i].scene, pictures[i].marks) for i in members])
        groups.append(
            Group(
                height // PATCH, width // PATCH,
                torch.from_numpy(seen), torch.from_numpy(wanted), members,
            )
        )  # fmt: skip
    return groups


def cells(picture: Picture) -> tuple[int, int]:
    """Return the rows and columns of cells of an image."""
    height, width = picture.pixels.shape[:2]
    return height // CELL, width // CELL


def batch(examples: Sequence[Example], image_token: int) -> ViewingBatch:
    """Pad documents to one length, a multiple of 16."""
    length = -(-max(len(e.document.tokens) for e in examples) // 16) * 16
    tokens = torch.zeros(len(examples), length, dtype=torch.long)
    learned = torch.zeros(len(examples), length, dtype=torch.bool)
    where = torch.zeros(3, len(examples), length, dtype=torch.long)
    for i, example in enumerate(examples):
        count = len(example.document.tokens)
        tokens[i, :count] = torch.tensor(example.document.tokens)
        learned[i, :count] = torch.tensor(example.document.learned)
        grids = [cells(p) for p in example.pictures]
        where[:, i, :count] = torch.tensor(positions(example.document.tokens, grids, image_token))
    marks = {
        name: marked(
            name,
            [
                ((i, *at), told)
                for i, example in enumerate(examples)
                for at, told in example.document.marks.get(name, ())
            ],
        )
        for name in NAMES
    }
    pictures = grouped([picture for example in examples for picture in example.pictures])
    return ViewingBatch(tokens, learned, where, pictures, marks)


def look(model: TinyVision, groups: Sequence[Group]) -> tuple[Tensor, list[Tensor]]:
    """Run the vision tower on all images.

    Returns
    -------
    tuple[Tensor, list[Tensor]]
        The cells of all images in reading order (n, hidden), and the cells of each group
        (images, cells, hidden).
    """
    outs = [model.visual(g.patches, g.rows, g.columns) for g in groups]
    seen: dict[int, Tensor] = {}
    for group, out in zip(groups, outs, strict=True):
        seen.update(zip(group.members, out, strict=True))
    return torch.cat([seen[i] for i in range(len(seen))]), outs


COMPARED = ("position", "size", "box")


def viewing(pool: list[list[Picture]], rng: random.Random, comparing: float) -> Viewing:
    """Return a random document about images of the pool's shards.

    Parameters
    ----------
    comparing
        The share of documents that only compare and locate the things of one image.
    """
    while True:
        picture, other = (rng.choice(rng.choice(pool)) for _ in range(2))
        if rng.random() < 0.5:
            picture, other = mirrored(picture), mirrored(other)
        if rng.random() < comparing:
            if len(picture.scene.shapes) < 2:
                continue
            return conversations.one_picture(picture, rng, 12, COMPARED)
        roll = rng.random()
        if roll < 0.76:
            return conversations.one_picture(picture, rng, rng.choice((1, 6, 8, 10, 12)))
        if roll < 0.86:
            more = [picture, other]
            if rng.random() < 0.15:
                more.append(rng.choice(rng.choice(pool)))
            return conversations.several_pictures(more, rng, rng.choice((3, 4, 5, 6)))
        made = conversations.with_tools([picture, other], rng)
        if made is not None:
            return made


class Viewings(IterableDataset[ViewingBatch]):
    """Endless batches of about `size` tokens, each of documents of similar length."""

    def __init__(
        self, shards: Path, tokenizer: Path, size: int, seed: int, comparing: float
    ) -> None:
        self.shards, self.tokenizer, self.size, self.seed = shards, tokenizer, size, seed
        self.comparing = comparing

    def __iter__(self) -> Iterator[ViewingBatch]:
        worker = get_worker_info()
        rng = random.Random(f"{self.seed} {worker.id if worker else 0}")
        encoder = ViewingEncoder(self.tokenizer)
        while True:
            paths = sorted(self.shards.glob("*.pickle"))
            pool = [read_shard(path) for path in rng.sample(paths, min(4, len(paths)))]
            for _ in range(4):
                examples = []
                for _ in range(160):
                    made = viewing(pool, rng, self.comparing)
                    document = encoder.encode(made)
                    if len(document.tokens) <= 900 and any(document.learned):
                        examples.append(Example(document, made.pictures))
                for group in self._of_one_length(examples, rng):
                    yield batch(group, encoder.image_token)

    def _of_one_length(self, examples: list[Example], rng: random.Random) -> list[list[Example]]:
        examples.sort(key=lambda e: len(e.document.tokens))
        groups: list[list[Example]] = [[]]
        for example in examples:
            if groups[-1] and len(example.document.tokens) * (len(groups[-1]) + 1) > self.size:
                groups.append([])
            groups[-1].append(example)
        rng.shuffle(groups)
        return groups


class Sights(IterableDataset[Group]):
    """Endless groups of `size` images of one size, for training the vision tower alone."""

    def __init__(self, shards: Path, size: int, seed: int) -> None:
        self.shards, self.size, self.seed = shards, size, seed

    def __iter__(self) -> Iterator[Group]:
        worker = get_worker_info()
        rng = random.Random(f"{self.seed} {worker.id if worker else 0}")
        while True:
            paths = sorted(self.shards.glob("*.pickle"))
            for path in rng.sample(paths, min(60, len(paths))):
                pictures = read_shard(path)
                rng.shuffle(pictures)
                for start in range(0, len(pictures) - self.size + 1, self.size):
                    chosen = pictures[start : start + self.size]
                    yield grouped([mirrored(p) if rng.random() < 0.5 else p for p in chosen])[0]


def _talk(progress: float) -> text.Mixture:
    """Return the text mixture of tiny-chat with more small talk.

    Small talk is the first skill to suffer while the model learns to see.
    """
    return {**text.mixture(progress), dialogues.chat_dialogue: 0.8}


class Texts(IterableDataset[text.Batch]):
    """Endless batches of tiny-chat's documents, so that the model keeps chat and tool calls."""

    def __init__(self, tokenizer: Path, size: int, seed: int) -> None:
        self.tokenizer, self.size, self.seed = tokenizer, size, seed

    def __iter__(self) -> Iterator[text.Batch]:
        worker = get_worker_info()
        rng = random.Random(f"{self.seed} text {worker.id if worker else 0}")
        encoder = ViewingEncoder(self.tokenizer)
        yield from text.batches(encoder, rng, lambda: 0.5, self.size, mixed=_talk)
