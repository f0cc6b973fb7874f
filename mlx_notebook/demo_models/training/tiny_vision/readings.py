"""Linear readings of the language part that teach it what answers are made of.

A yes, a number or a name alone teaches slowly what must be seen for it. So the hidden states of
some tokens must tell that as well: where a thing is, how two differ, how many there are. All of
this is thrown away after the training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from .dense import EIGHTHS

Marks = Mapping[str, tuple[Tensor, Tensor]]
"""By the name of a reading: row and columns of tokens (n, 2 or 3), what they must tell (n, k)."""


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
    """Where a thing is: `scenes.place`, (n, 4)."""

    def __init__(self, hidden: int, layer: int) -> None:
        super().__init__(hidden, layer)
        self.read = nn.Linear(hidden, 4)

    def forward(self, states: Sequence[Tensor], at: Tensor, wanted: Tensor) -> Tensor:
        """Return the loss."""
        told = self.read(self.states(states, *at.unbind(1)))
        return functional.smooth_l1_loss(told, wanted * EIGHTHS)


class Comparing(_Reading):
    """How two things differ: where the second is named, and a layer later before the answer.

    `wanted` (n, 4) is `scenes.difference`, then 0 or 1 for the thing whose name is the answer and
    -1 where it is something else: the answer's beginning must tell that too.
    """

    def __init__(self, hidden: int, layer: int) -> None:
        super().__init__(hidden, layer)
        self.named = nn.Linear(hidden, 3)
        self.answered = nn.Linear(hidden, 3)
        self.chosen = nn.Linear(hidden, 1)

    def forward(self, states: Sequence[Tensor], at: Tensor, wanted: Tensor) -> Tensor:
        """Return the loss; `at` is row, where the second is named, last token before the answer."""
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
    """How many there are, (n, 1)."""

    def __init__(self, hidden: int, layer: int) -> None:
        super().__init__(hidden, layer)
        self.read = nn.Linear(hidden, 1)

    def forward(self, states: Sequence[Tensor], at: Tensor, wanted: Tensor) -> Tensor:
        """Return the loss."""
        return functional.smooth_l1_loss(self.read(self.states(states, *at.unbind(1))), wanted)


def readings(hidden: int, layers: int) -> nn.ModuleDict:
    """Return all readings by name.

    Things are found in the middle of the layers; one layer later they are compared, and one more
    it is known what comes: the thing to be named next, a number.
    """
    middle = layers // 2
    return nn.ModuleDict({
        "pointing": Pointing(hidden, middle), "comparing": Comparing(hidden, middle + 1),
        "ahead": Pointing(hidden, middle + 2), "counting": Counting(hidden, middle + 2),
    })  # fmt: skip


def losses(
    all_readings: nn.ModuleDict, states: Sequence[Tensor], marks: Marks
) -> dict[str, Tensor]:
    """Return the losses of those readings that a batch has tokens for."""
    return {
        name: all_readings[name](states, at, wanted)
        for name, (at, wanted) in marks.items()
        if len(at)
    }


def marked(
    name: str, found: Sequence[tuple[Sequence[int], Sequence[float]]]
) -> tuple[Tensor, Tensor]:
    """Return row and columns of tokens, and what they must tell, as tensors."""
    columns, values = _SIZES[name]
    at = torch.tensor([where for where, _ in found], dtype=torch.long).reshape(-1, columns)
    wanted = torch.tensor([told for _, told in found], dtype=torch.float32).reshape(-1, values)
    return at, wanted


_SIZES = {"pointing": (2, 4), "comparing": (3, 4), "ahead": (2, 4), "counting": (2, 1)}
NAMES = tuple(_SIZES)
