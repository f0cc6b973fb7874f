"""Muon for matrices and AdamW for all other weights, with one rate schedule."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn


class Both:
    """Muon and AdamW side by side.

    Parameters
    ----------
    modules
        The modules to train; Muon gets the matrices inside blocks and mergers.
    muon
        Muon's peak rate.
    adam
        AdamW's peak rate.
    """

    def __init__(self, modules: Iterable[nn.Module], muon: float, adam: float) -> None:
        matrices: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for module in modules:
            for name, parameter in module.named_parameters():
                inner = "blocks." in name or "layers." in name or "linear_fc" in name
                (matrices if parameter.ndim == 2 and inner else others).append(parameter)
        self.muon = torch.optim.Muon(matrices, lr=muon, weight_decay=0.01, momentum=0.95)
        self.adam = torch.optim.AdamW(others, lr=adam, betas=(0.9, 0.98), weight_decay=0.0)
        self.peaks = (muon, adam)
        self.parameters = matrices + others

    def state(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return {"muon": self.muon.state_dict(), "adam": self.adam.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        self.muon.load_state_dict(state["muon"])
        self.adam.load_state_dict(state["adam"])

    def step(self, part: float) -> None:
        """Update with the share `part` of the peak rates, then clear the gradients."""
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for optimiser, peak in zip((self.muon, self.adam), self.peaks, strict=True):
            for group in optimiser.param_groups:
                group["lr"] = peak * part
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)


def share(done: float, step: int, fall: float, warm: int = 40) -> float:
    """Return the share of the peak rates: warm-up, constant, then linear to 2 %.

    Parameters
    ----------
    done
        The elapsed share of the training, 0 to 1.
    step
        The steps so far.
    fall
        The last share of the training, in which the rates fall; 0 keeps them constant.
    warm
        The steps of the warm-up.
    """
    rising = min(1.0, (step + 1) / warm)
    return rising * (min(1.0, max(0.02, (1 - done) / fall)) if fall else 1.0)
