"""Linear readings of hidden states that teach the language part what answers depend on.

A yes, a number or a name alone is a weak training signal. So the hidden states of some tokens
must also predict where a thing is, how two things differ, and how many things there are. The
exported model does not contain the readings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from .dense import EIGHTHS

Marks = Mapping[str, tuple[Tensor, Tensor]]
"""By the name of a reading: row and columns of tokens (n, 2 or 3), and their targets (n, k)."""


class _Reading(nn.Module):
    def __init__(self, hidden: int, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.norm = nn.RMSNorm(hidden, elementwise_affine=False)

    def states(
        self, states: Sequence[Tensor], row: Tensor, column: Tensor, later: int = 0
    ) -> Tensor:
        """Return the normalised states (n, hidden) of tokens after this reading's layer."""
        found: Tensor = self.norm(states[self.layer + later - 1][row, column].float())
        return found


class Pointing(_Reading):
    """Predict where a thing is: `scenes.place`, (n, 4)."""

    def __init__(self, hidden: int, layer: int) -> None:
        super().__init__(hidden, layer)
        self.read = nn.Linear(hidden, 4)

    def forward(self, states: Sequence[Tensor], at: Tensor, wanted: Tensor) -> Tensor:
        """Return the loss."""
        told = self.read(self.states(states, *at.unbind(1)))
        return functional.smooth_l1_loss(told, wanted * EIGHTHS)


class Comparing(_Reading):
    """Predict how two things differ.

    It reads the state where the second thing is named and, one layer later, the state before the
    answer. `wanted` (n, 4) is `scenes.difference`, then the index of the thing that is the answer
    (0 or 1; -1 for neither). The first token of the answer must predict that index too.
    """

    def __init__(self, hidden: int, layer: int) -> None:
        super().__init__(hidden, layer)
        self.named = nn.Linear(hidden, 3)
        self.answered = nn.Linear(hidden, 3)
        self.chosen = nn.Linear(hidden, 1)

    def forward(self, states: Sequence[Tensor], at: Tensor, wanted: Tensor) -> Tensor:
        """Return the loss.

        `at` holds the row, the column of the token that names the second thing, and the column of
        the last token before the answer.
        """
        row, second, last = at.unbind(1)
        named = self.states(states, row, second)
        answered = self.states(states, row, last, later=1)
        differences = wanted[:, :3] * EIGHTHS
        loss = functional.smooth_l1_loss(self.named(named), differences)
        loss = loss + functional.smooth_l1_loss(self.answered(answered), differences)
        which = wanted[:, 3] >= 0
        if bool(which.any()):
            begun = self.states(states, row, last + 1, later=1)
            for state in (answered, begun):
                told = self.chosen(state[which])[:, 0]
                loss = loss + functional.binary_cross_entropy_with_logits(told, wanted[which, 3])
        return loss


class Counting(_Reading):
    """Predict how many things there are, (n, 1)."""

    def __init__(self, hidden: int, layer: int) -> None:
        super().__init__(hidden, layer)
        self.read = nn.Linear(hidden, 1)

    def forward(self, states: Sequence[Tensor], at: Tensor, wanted: Tensor) -> Tensor:
        """Return the loss."""
        return functional.smooth_l1_loss(self.read(self.states(states, *at.unbind(1))), wanted)


def readings(hidden: int, layers: int) -> nn.ModuleDict:
    """Return all readings by name.

    The middle layer locates things. The next layer compares them. The layer after that knows what
    comes next in the answer: a thing to name, or a number.
    """
    middle = layers // 2
    return nn.ModuleDict({
        "pointing": Pointing(hidden, middle), "comparing": Comparing(hidden, middle + 1),
        "ahead": Pointing(hidden, middle + 2), "counting": Counting(hidden, middle + 2),
    })  # fmt: skip


def losses(
    all_readings: nn.ModuleDict, states: Sequence[Tensor], marks: Marks
) -> dict[str, Tensor]:
    """Return the losses of the readings that have tokens in the batch."""
    return {
        name: all_readings[name](states, at, wanted)
        for name, (at, wanted) in marks.items()
        if len(at)
    }


def marked(
    name: str, found: Sequence[tuple[Sequence[int], Sequence[float]]]
) -> tuple[Tensor, Tensor]:
    """Return the rows and columns of tokens, and their targets, as tensors."""
    columns, values = _SIZES[name]
    at = torch.tensor([where for where, _ in found], dtype=torch.long).reshape(-1, columns)
    wanted = torch.tensor([told for _, told in found], dtype=torch.float32).reshape(-1, values)
    return at, wanted


_SIZES = {"pointing": (2, 4), "comparing": (3, 4), "ahead": (2, 4), "counting": (2, 1)}
NAMES = tuple(_SIZES)
