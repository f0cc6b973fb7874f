"""Resident models of stated sizes, for what is decided about them without running them."""

from collections.abc import Generator
from pathlib import Path

from mlx_notebook.engine.backends.adapters import BaseWeights
from mlx_notebook.engine.backends.backend import Backend, Vectors
from mlx_notebook.engine.prompts.length_limits import LengthLimit
from mlx_notebook.engine.prompts.prompt import PreparedPrompt
from mlx_notebook.engine.residency.model_queues import ModelSpec
from mlx_notebook.engine.residency.resident_model import ResidentModel
from mlx_notebook.model_files.footprint import Footprint
from mlx_notebook.protocol import ModelOptions, Prompt


class Weights(Backend):
    """A backend that has a size and does nothing."""

    context_length = 512

    def __init__(self, name: str, nbytes: int):
        self.name, self.nbytes = name, nbytes
        self.base = BaseWeights(nbytes)

    def prepare(self, prompt: Prompt, length_limit: LengthLimit | None = None) -> PreparedPrompt:
        raise NotImplementedError

    def embed(self, batch: list[list[int]], chunk: int) -> Generator[None, None, Vectors]:
        raise NotImplementedError

    def close(self) -> None:
        pass


def resident(name: str, nbytes: int, *, kv: int = 0, used_at: float = 0.0) -> ResidentModel:
    need = Footprint(base=nbytes, own=0, kv=kv)
    made = ResidentModel(Weights(name, nbytes), ModelSpec(Path(name), ModelOptions()), need)
    made.used_at = used_at
    return made
