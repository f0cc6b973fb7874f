"""One model of the catalog."""

from pathlib import Path

from msgspec import Struct

from mlx_notebook.model_files.footprint import Footprint, Weights, foreseen
from mlx_notebook.model_files.model_facts import ModelFacts
from mlx_notebook.protocol import ModelOptions, Resident
from mlx_notebook.server.models.model_settings import NONE, ModelSettings
from mlx_notebook.server.wire.native.model_types import ModelSource


class CatalogEntry(Struct, frozen=True):
    """A model on this machine; `fault` says what is wrong with its settings.

    `adapter` are the weights of the adapter, and `draft` what is known of the draft model, that it
    is loaded with.
    """

    name: str
    path: Path
    source: ModelSource
    facts: ModelFacts
    options: ModelOptions = ModelOptions()
    settings: ModelSettings = NONE
    adapter: Weights | None = None
    draft: ModelFacts | None = None
    fault: str | None = None

    @property
    def context_window(self) -> int | None:
        """The length of its context in tokens, where its files tell."""
        limit = self.options.context_limit
        known = self.facts.context_window
        return min(known, limit) if known and limit else known or limit

    @property
    def sees(self) -> bool:
        """Whether it takes pictures, as far as its files tell."""
        return self.facts.sees

    @property
    def embeds(self) -> bool:
        """Whether it makes vectors and writes nothing."""
        return self.facts.embeds

    def capabilities(self, resident: Resident | None) -> list[str]:
        """Return what it can do; one that is in memory may have turned out to be blind."""
        blind = resident is not None and not resident.vision
        return [can for can in self.facts.capabilities if not (blind and can == "vision")]

    def footprint(self, *, full_precision: bool) -> Footprint:
        """Predict what it takes in memory, as it is set; `full_precision` as for `Weights`."""
        draft = self.draft
        return foreseen(
            self.facts.weights,
            self.facts.kept,
            self.options,
            adapter=self.adapter,
            draft=(draft.weights, draft.kept) if draft is not None else None,
            full_precision=full_precision,
        )

    def is_outdated(self, resident: Resident) -> bool:
        """Whether it was loaded from another folder or as it was set before."""
        return (resident.path, resident.options) != (str(self.path), self.options)
