"""Muon for matrices, Adam for the embedding and the norms, with float32 master weights.

Muon: K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

AVERAGED = 0.995
"""Share that the averaged weights keep in each step."""


def orthogonalised(gradients: Tensor, precision: torch.dtype) -> Tensor:
    """Map matrices (n, rows, columns) to the nearest semi-orthogonal ones, by Newton-Schulz."""
    x = gradients.to(precision)
    flip = x.shape[1] > x.shape[2]
    if flip:
        x = x.transpose(1, 2)
    x = x / (x.float().norm(dim=(1, 2), keepdim=True) + 1e-7).to(precision)
    for _ in range(5):
        a = x @ x.transpose(1, 2)
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * (a @ a)) @ x
    if flip:
        x = x.transpose(1, 2)
    return x.float()


class Optimizer:
    """Hold float32 master weights of a module in bfloat16 or float32, and update them."""

    def __init__(
        self, module: nn.Module, momentum: float = 0.95, averaged: float = AVERAGED
    ) -> None:
        self.parameters = dict(module.named_parameters())
        self.precision = next(iter(self.parameters.values())).dtype
        self.masters = {name: p.detach().float().clone() for name, p in self.parameters.items()}
        self.first = {name: torch.zeros_like(m) for name, m in self.masters.items()}
        self.second = {
            name: torch.zeros_like(m)
            for name, m in self.masters.items()
            if not self._is_matrix(name, m)
        }
        self.average = {name: m.clone() for name, m in self.masters.items()}
        """A moving average of the master weights: good without a fall of the rates."""
        self.momentum, self.averaged = momentum, averaged
        self.steps = 0
        groups: dict[tuple[int, ...], list[str]] = {}
        for name, master in self.masters.items():
            if self._is_matrix(name, master):
                groups.setdefault(tuple(master.shape), []).append(name)
        self.groups = list(groups.values())

    @staticmethod
    def _is_matrix(name: str, master: Tensor) -> bool:
        return master.ndim == 2 and "embed" not in name

    def step(self, muon_rate: float, adam_rate: float, decay: float = 0.01) -> None:
        """Do one update with the module's gradients, then clear the gradients."""
        with torch.no_grad():
            self.steps += 1
            for names in self.groups:
                updates = []
                for name in names:
                    gradient = self._gradient(name)
                    self.first[name].lerp_(gradient, 1 - self.momentum)
                    updates.append(gradient.lerp(self.first[name], self.momentum))
                rows, columns = updates[0].shape
                scale = max(1.0, rows / columns) ** 0.5
                orthogonal = orthogonalised(torch.stack(updates), self.precision)
                for name, update in zip(names, orthogonal, strict=True):
                    self.masters[name].mul_(1 - muon_rate * decay).add_(
                        update, alpha=-muon_rate * scale
                    )
            for name, second in self.second.items():
                gradient = self._gradient(name)
                first = self.first[name].lerp_(gradient, 0.1)
                second.lerp_(gradient.square(), 0.01)
                corrected = (first / (1 - 0.9**self.steps)) / (
                    (second / (1 - 0.99**self.steps)).sqrt() + 1e-8
                )
                self.masters[name].add_(corrected, alpha=-adam_rate)
            keep = min(self.averaged, self.steps / (self.steps + 10))
            for name, parameter in self.parameters.items():
                parameter.copy_(self.masters[name])
                self.average[name].lerp_(self.masters[name], 1 - keep)

    def show_average(self) -> None:
        """Put the averaged weights into the module."""
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(self.average[name])

    def show_masters(self) -> None:
        """Put the master weights back into the module."""
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(self.masters[name])

    def _gradient(self, name: str) -> Tensor:
        gradient = self.parameters[name].grad
        self.parameters[name].grad = None
        return torch.zeros_like(self.masters[name]) if gradient is None else gradient.float()

    def state(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return {
            "masters": self.masters,
            "average": self.average,
            "first": self.first,
            "second": self.second,
            "steps": self.steps,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        with torch.no_grad():
            for name in ("masters", "average", "first", "second"):
                for key, value in state[name].items():
                    getattr(self, name)[key].copy_(value)
            self.steps = state["steps"]
            for name, parameter in self.parameters.items():
                parameter.copy_(self.masters[name])

    def start_from(self, tensors: dict[str, Tensor]) -> None:
        """Start from an exported model's weights, without their momenta."""
        with torch.no_grad():
            for name, master in self.masters.items():
                master.copy_(tensors[f"model.{name}"].float())
                self.average[name].copy_(master)
                self.parameters[name].copy_(master)
