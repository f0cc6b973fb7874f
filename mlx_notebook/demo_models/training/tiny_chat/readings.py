"""Readings of hidden states that teach the model which tool a request means, and how many calls.

A call's name is one decision among twenty tokens that the model copies without effort. So a few
hidden states must also tell the decision itself. Like the readings of tiny-vision, these have
weights of their own, which the exported model does not contain.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from .choices import COUNTS, Marks


class Choosing(nn.Module):
    """Tell, from the state of one token, which tools the next message calls.

    The state gives a query for the first call and one for the second. Each tool's name and each
    tool's last token give its key. The highest product must be that of the called tool.
    """

    def __init__(self, hidden: int, layer: int, size: int = 64) -> None:
        super().__init__()
        self.layer = layer
        self.norm = nn.RMSNorm(hidden, elementwise_affine=False)
        self.named = nn.Linear(hidden, size, bias=False)
        self.ended = nn.Linear(hidden, size, bias=False)
        self.queries = nn.ModuleList(nn.Linear(hidden, size) for _ in range(2))

    def forward(self, states: Sequence[Tensor], column: Tensor, marks: Marks) -> Tensor:
        """Return the loss, in nats; `column` (n) is the read token of each choice."""
        state = states[self.layer - 1]
        rows = torch.arange(len(state))[:, None]
        tools = torch.from_numpy(marks.tools)
        names, ends = self.norm(state[rows[..., None], tools.clamp(min=0)].float()).unbind(2)
        keys = (self.named(names) + self.ended(ends)) * self.named.out_features**-0.5
        row = torch.from_numpy(marks.rows)
        read = self.norm(state[row, column].float())
        absent = tools[row, :, 0] < 0
        losses = []
        for i, query in enumerate(self.queries):
            wanted = torch.from_numpy(marks.called[:, i])
            scores = (keys[row] @ query(read)[:, :, None])[..., 0].masked_fill(absent, -1e4)
            losses.append(
                functional.cross_entropy(scores, wanted, ignore_index=-1, reduction="sum")
            )
        return torch.stack(losses).sum() / max(1, int((marks.called >= 0).sum()))


class Counting(nn.Module):
    """Tell, from the state of one token, how many calls the next message makes."""

    def __init__(self, hidden: int, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.norm = nn.RMSNorm(hidden, elementwise_affine=False)
        self.read = nn.Linear(hidden, COUNTS)

    def forward(self, states: Sequence[Tensor], column: Tensor, marks: Marks) -> Tensor:
        """Return the loss, in nats; `column` (n) is the read token of each choice."""
        state = states[self.layer - 1][torch.from_numpy(marks.rows), column]
        return functional.cross_entropy(
            self.read(self.norm(state.float())), torch.from_numpy(marks.counts)
        )


class Readings(nn.Module):
    """All readings: of the end of the user's message, and one layer later before the answer."""

    def __init__(self, hidden: int, layers: int) -> None:
        super().__init__()
        self.asked, self.counted = Choosing(hidden, layers - 2), Counting(hidden, layers - 2)
        self.begun = Choosing(hidden, layers - 1)

    def forward(self, states: Sequence[Tensor], marks: Marks) -> dict[str, Tensor]:
        """Return the loss of each reading.

        `states` holds the output (rows, length, hidden) of each layer.
        """
        if not len(marks.rows):
            return {}
        asked, begun = torch.from_numpy(marks.asked), torch.from_numpy(marks.begun)
        return {
            "asked": self.asked(states, asked, marks),
            "counted": self.counted(states, asked, marks),
            "begun": self.begun(states, begun, marks),
        }
