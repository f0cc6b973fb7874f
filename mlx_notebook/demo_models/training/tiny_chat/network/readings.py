"""Readings of hidden states that teach the model which tool a request means, and how many calls.

A call's name is one decision among twenty tokens that the model copies without effort. So a few
hidden states must also tell the decision itself, and the steps to it: which words of the request
stand among the tools, then which tools hold them, then which tool is meant. Like the readings of
tiny-vision, these have weights of their own, which the exported model does not contain.

Attention itself is taught too. One head goes from a word of the request to the same word among the
tools, and brings the place of the tool. Two heads go from the end of the request to the words that
tell the first and the second call. One head goes from each piece of a call's name to the next
piece in the list. A model of this size would find such heads late or never.

The first piece of a name cannot know the rest of the name, since attention looks back only. So a
model that knows which tool it means by its words may still not find the first piece. It finds it
by the place of the tool in the list. Therefore, each token of the list tells its tool's place, and
the tokens before a call tell the place of the tool that they mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from .choices import COUNTS, PLACES, Marks
from .model import States

UNKNOWN = 0.25
"""Weight of the words of a request that stand in no tool."""

FETCHING, GATHERING, COPYING = 0, (0, 2), 3
"""The heads that are taught where to look."""


def tensor(array: np.ndarray[Any, Any], beside: Tensor) -> Tensor:
    """Return the array as a tensor on the device of `beside`."""
    return torch.from_numpy(array).to(beside.device)


def plain_norm(hidden: int) -> nn.RMSNorm:
    """Return a norm without weights."""
    return nn.RMSNorm(hidden, elementwise_affine=False)


class ToolKeys(nn.Module):
    """A key for each tool, from the ends of its name and of its line."""

    def __init__(self, hidden: int, size: int) -> None:
        super().__init__()
        self.norm = plain_norm(hidden)
        self.named = nn.Linear(hidden, size, bias=False)
        self.ended = nn.Linear(hidden, size, bias=False)

    def forward(self, state: Tensor, tools: Tensor) -> Tensor:
        """Return keys (rows, tools, size) from the state (rows, length, hidden) of a layer."""
        rows = torch.arange(len(state), device=state.device)[:, None, None]
        names, ends = self.norm(state[rows, tools.clamp(min=0)].float()).unbind(2)
        keys: Tensor = (self.named(names) + self.ended(ends)) * self.named.out_features**-0.5
        return keys


class Choosing(nn.Module):
    """Tell, from the state of one token, which tools are called.

    The state gives a query for each call. The highest product with a tool's key must be that of
    the called tool.
    """

    def __init__(self, hidden: int, layer: int, calls: int = 2, size: int = 64) -> None:
        super().__init__()
        self.layer = layer
        self.norm = plain_norm(hidden)
        self.keys = ToolKeys(hidden, size)
        self.queries = nn.ModuleList(nn.Linear(hidden, size) for _ in range(calls))

    def forward(
        self, states: Sequence[Tensor], row: Tensor, column: Tensor, called: Tensor, tools: Tensor
    ) -> Tensor:
        """Return the loss, in nats, of `n` choices.

        `row` and `column` (n) tell the read tokens, and `called` (n, calls) the tools, -1 for
        none; `tools` is that of :class:`Marks`.
        """
        state = states[self.layer - 1]
        keys = self.keys(state, tools)[row]
        read = self.norm(state[row, column].float())
        absent = tools[row, :, 0] < 0
        losses = []
        for i, query in enumerate(self.queries):
            scores = (keys @ query(read)[:, :, None])[..., 0].masked_fill(absent, -1e4)
            losses.append(
                functional.cross_entropy(scores, called[:, i], ignore_index=-1, reduction="sum")
            )
        return torch.stack(losses).sum() / (called >= 0).sum().clamp(min=1)


class Counting(nn.Module):
    """Tell, from the state of one token, how many calls the next message makes."""

    def __init__(self, hidden: int, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.norm = plain_norm(hidden)
        self.read = nn.Linear(hidden, COUNTS)

    def forward(
        self, states: Sequence[Tensor], row: Tensor, column: Tensor, counts: Tensor
    ) -> Tensor:
        """Return the loss, in nats; `row` and `column` (n) tell the read tokens."""
        state = states[self.layer - 1][row, column]
        return functional.cross_entropy(self.read(self.norm(state.float())), counts)


class Placing(nn.Module):
    """Tell, from the state of one token, the places of tools in the list."""

    def __init__(self, hidden: int, layer: int, calls: int = 1) -> None:
        super().__init__()
        self.layer = layer
        self.norm = plain_norm(hidden)
        self.read = nn.Linear(hidden, calls * PLACES)

    def forward(
        self, states: Sequence[Tensor], row: Tensor, column: Tensor, places: Tensor
    ) -> Tensor:
        """Return the loss, in nats.

        `row` and `column` (n) tell the read tokens, and `places` (n, calls) the right places, -1
        for none.
        """
        scores = self.read(self.norm(states[self.layer - 1][row, column].float()))
        places = places.where(places < PLACES, -1).reshape(-1)
        lost = functional.cross_entropy(
            scores.view(-1, PLACES), places, ignore_index=-1, reduction="sum"
        )
        return lost / (places >= 0).sum().clamp(min=1)


def _loss_of_any(scores: Tensor, right: Tensor) -> Tensor:
    """Return, in nats, how unlikely scores (n, choices) make the right choices together."""
    return torch.logsumexp(scores, -1) - torch.logsumexp(scores.masked_fill(~right, -1e4), -1)


class Matching(nn.Module):
    """Tell, from the last piece of a user's word, where the same word stands among the tools.

    One head of attention could do the same: a query, a key for each word of the tools, and one
    for "nowhere".
    """

    def __init__(self, hidden: int, layer: int, size: int = 64) -> None:
        super().__init__()
        self.layer = layer
        self.norm = plain_norm(hidden)
        self.query, self.key = nn.Linear(hidden, size), nn.Linear(hidden, size, bias=False)
        self.nowhere = nn.Linear(hidden, 1)

    def forward(self, states: Sequence[Tensor], words: Tensor, heard: Tensor, same: Tensor) -> Any:
        """Return the loss, in nats; the arguments are those of :class:`Marks`."""
        state = states[self.layer - 1]
        row, column = heard.unbind(1)
        rows = torch.arange(len(state), device=state.device)[:, None]
        keys = self.key(self.norm(state[rows, words[..., 0].clamp(min=0)].float()))
        read = self.norm(state[row, column].float())
        scores = (keys[row] @ self.query(read)[:, :, None])[..., 0] * self.key.out_features**-0.5
        scores = scores.masked_fill(words[row, :, 0] < 0, -1e4)
        known = same.any(1)
        losses = _loss_of_any(
            torch.cat((scores, self.nowhere(read)), 1), torch.cat((same, ~known[:, None]), 1)
        )
        weights = torch.where(known, 1.0, UNKNOWN)
        return (losses * weights).sum() / weights.sum()


class Holding(nn.Module):
    """Tell, from the last piece of a user's word, which tools hold this word, and their places.

    Words that stand in all tools, or in none, are left out.
    """

    def __init__(self, hidden: int, layer: int, size: int = 64) -> None:
        super().__init__()
        self.layer = layer
        self.norm = plain_norm(hidden)
        self.keys = ToolKeys(hidden, size)
        self.query, self.place = nn.Linear(hidden, size), nn.Linear(hidden, PLACES)

    def forward(
        self, states: Sequence[Tensor], tools: Tensor, words: Tensor, heard: Tensor, same: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the loss for the tools and for the places, in nats.

        The arguments are those of :class:`Marks`.
        """
        state = states[self.layer - 1]
        row, column = heard.unbind(1)
        here = tools[row, :, 0] >= 0
        number = torch.arange(tools.shape[1], device=tools.device)
        holds = ((words[row, :, 1, None] == number) & same[..., None]).any(1)
        telling = holds.any(1) & (holds != here).any(1)
        read = self.norm(state[row, column].float())
        scores = (self.keys(state, tools)[row] @ self.query(read)[:, :, None])[..., 0]

        def loss(scores: Tensor, holds: Tensor, here: Tensor) -> Tensor:
            right = holds | ~holds.any(1, keepdim=True)
            losses = _loss_of_any(scores.masked_fill(~here, -1e4), right & here)
            return (losses * telling).sum() / telling.sum().clamp(min=1)

        first = min(PLACES, tools.shape[1])
        placed = self.place(read)[:, :first]
        return loss(scores, holds, here), loss(placed, holds[:, :first], here[:, :first])


def held_by(at: dict[str, Tensor]) -> Tensor:
    """Return which tools hold each word of the user, (n, tools)."""
    number = torch.arange(at["tools"].shape[1], device=at["tools"].device)
    of_tool = at["words"][at["heard"][:, 0], :, 1, None] == number
    return (of_tool & at["same"][..., None]).any(1)


def telling_words(at: dict[str, Tensor], call: int) -> Tensor:
    """Return which words of the user tell a choice's call 0 or 1, (choices, n)."""
    holds = held_by(at)
    row, column = at["heard"].unbind(1)
    here = at["tools"][row, :, 0] >= 0
    of_request = (
        (row == at["rows"][:, None])
        & (column > at["since"][:, None])
        & (column < at["asked"][:, None])
    )
    this, other = at["called"][:, call], at["called"][:, 1 - call]
    holds_other = holds[:, other.clamp(min=0)].T & ((other >= 0) & (other != this))[:, None]
    told = holds[:, this.clamp(min=0)].T & (this >= 0)[:, None] & (holds != here).any(1)
    return told & ~holds_other & of_request


def looking(scores: Tensor, row: Tensor, column: Tensor, wanted: Tensor) -> Tensor:
    """Return, in nats, how little a head of attention gives to the wanted tokens.

    `scores` is (rows, length, length); `row` and `column` (n) tell the tokens that look, and
    `wanted` (n, length) the tokens to look at.
    """
    chosen = scores[row, column].float()
    later = torch.arange(chosen.shape[1], device=chosen.device) > column[:, None]
    return _loss_of_any(chosen.masked_fill(later, -1e4), wanted).mean()


class Readings(nn.Module):
    """All readings, from the layers in which the model of six layers takes these steps."""

    def __init__(self, hidden: int, layers: int) -> None:
        super().__init__()
        self.matched = Matching(hidden, layers - 4)
        self.held = Holding(hidden, layers - 3)
        self.asked, self.counted = Choosing(hidden, layers - 2), Counting(hidden, layers - 2)
        self.begun = Choosing(hidden, layers - 1)
        self.named = Choosing(hidden, layers - 1, calls=1)
        self.lines = Placing(hidden, layers - 4)
        self.placed = Placing(hidden, layers - 2, calls=2)
        self.spelled = Placing(hidden, layers - 1)
        self.layers = layers

    def forward(self, found: States, marks: Marks) -> dict[str, Tensor]:
        """Return the loss of each reading."""
        if not len(marks.rows):
            return {}
        states = found.outputs
        at = {name: tensor(array, states[0]) for name, array in vars(marks).items()}
        tools, rows, called, names = (at[name] for name in ("tools", "rows", "called", "names"))
        losses = {
            "asked": self.asked(states, rows, at["asked"], called, tools),
            "counted": self.counted(states, rows, at["asked"], at["counts"]),
            "begun": self.begun(states, rows, at["begun"], called, tools),
            "named": self.named(states, names[:, 0], names[:, 1], names[:, 2:3], tools),
        }
        losses["placed"] = self.placed(states, rows, at["asked"], called)
        for name, reading in (("lines", self.lines), ("spelled", self.spelled)):
            row, column = (at[name] >= 0).nonzero().unbind(1)
            losses[name] = reading(states, row, column, at[name][row, column, None])
        if len(marks.heard):
            words, heard, same = at["words"], at["heard"], at["same"]
            losses["matched"] = self.matched(states, words, heard, same)
            losses["held"], losses["held_place"] = self.held(states, tools, words, heard, same)
        losses |= self.looks(found, at)
        return losses

    def looks(self, found: States, at: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the losses of the heads that are taught where to look."""
        losses = {}
        length = found.outputs[0].shape[1]
        known = at["same"].any(1)
        if known.any():
            row, column = at["heard"][known].unbind(1)
            wanted = torch.zeros(len(row), length, dtype=torch.bool, device=row.device)
            which, word = at["same"][known].nonzero().unbind(1)
            wanted[which, at["words"][row[which], word, 0]] = True
            scores = found.scores(self.layers - 3, FETCHING)
            losses["fetch"] = looking(scores, row, column, wanted)
            for i, head in enumerate(GATHERING):
                told = telling_words(at, i)
                some = told.any(1)
                which, word = told[some].nonzero().unbind(1)
                wanted = torch.zeros(int(some.sum()), length, dtype=torch.bool, device=row.device)
                wanted[which, at["heard"][word, 1]] = True
                if len(wanted):
                    scores = found.scores(self.layers - 2, head)
                    losses[f"gather_{i}"] = looking(
                        scores, at["rows"][some], at["asked"][some], wanted
                    )
        if len(at["copies"]):
            row, column, target = at["copies"].unbind(1)
            wanted = functional.one_hot(target, length).bool()
            losses["copy"] = looking(found.scores(self.layers, COPYING), row, column, wanted)
        return losses
