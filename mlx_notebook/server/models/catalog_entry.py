"""Describe one model of the catalog."""

from pathlib import Path

from msgspec import Struct

from mlx_notebook.model_files.footprint import Footprint, WeightBytes, predict_footprint
from mlx_notebook.model_files.model_facts import ModelFacts
from mlx_notebook.protocol import ModelOptions, Resident
from mlx_notebook.server.models.settings.model_settings import NO_SETTINGS, ModelSettings
from mlx_notebook.server.wire.native.model_types import ModelSource


class CatalogEntry(Struct, frozen=True):
    """Describe a model on this machine or at an upstream.

    Attributes
    ----------
    name
        Name by which requests choose it.
    path
        Its folder, or its GGUF file. That of an upstream's model is empty.
    source
        Where it comes from: the package, a configured folder or the Hugging Face cache.
    facts
        What its files say.
    options
        Options that it is loaded with.
    settings
        Settings in force.
    adapter
        WeightBytes of the adapter that it is loaded with.
    draft
        What the files of its draft model say.
    fault
        What is wrong with its settings, None if nothing is.
    upstream
        Name of the upstream that runs it; None for a model on this machine.
    """

    name: str
    path: Path
    source: ModelSource
    facts: ModelFacts
    options: ModelOptions = ModelOptions()
    settings: ModelSettings = NO_SETTINGS
    adapter: WeightBytes | None = None
    draft: ModelFacts | None = None
    fault: str | None = None
    upstream: str | None = None

    @property
    def settings_name(self) -> str:
        """Name under which its settings are saved. Adapters share those of their model."""
        return self.name if self.upstream else self.name.partition("+")[0]

    @property
    def context_window(self) -> int | None:
        """Context length in tokens, None if its files do not say."""
        limit = self.options.context_limit
        known = self.facts.context_window
        return min(known, limit) if known and limit else known or limit

    @property
    def takes_images(self) -> bool:
        """Whether it takes images, according to its files."""
        return self.facts.vision

    @property
    def takes_video(self) -> bool:
        """Whether it takes a video as one, and not as still images."""
        return self.facts.video

    @property
    def takes_audio(self) -> bool:
        """Whether it takes sound in chats, according to its files."""
        return self.facts.hears

    @property
    def is_embedding_model(self) -> bool:
        """Whether it makes embeddings and generates no text."""
        return self.facts.is_embedding_model

    @property
    def generates_text(self) -> bool:
        """Whether it answers prompts with text."""
        facts = self.facts
        return not (facts.is_embedding_model or facts.is_audio_model or facts.reranker)

    @property
    def is_text_model(self) -> bool:
        """Whether it is a language model of text alone, which can be trained and converted here."""
        asked = self.facts.reranker == "yes-no"
        return (self.generates_text or asked) and not self.takes_images

    @property
    def own_route(self) -> str:
        """The route of a model that generates no text."""
        if self.facts.reranker is not None:
            return "v1/rerank"
        if self.facts.is_embedding_model:
            return "v1/embeddings"
        speaks = "speech" in self.facts.capabilities
        return "v1/audio/speech" if speaks else "v1/audio/transcriptions"

    @property
    def ranks(self) -> bool:
        """Whether it ranks documents: its files say so, or its settings."""
        return self.facts.reranker is not None or self.options.reranker

    def serves(self, use: str) -> bool:
        """Whether it can be used so: "text" for answers to prompts, or one of its capabilities."""
        return self.generates_text if use == "text" else use in self.capabilities(None)

    def capabilities(self, resident: Resident | None) -> list[str]:
        """Return its capabilities. The engine may have found that vision or hearing fails."""
        missing = set()
        if resident is not None:
            missing = {"vision"} if not resident.vision else set()
            missing |= {"audio"} if not resident.hears else set()
        names = [name for name in self.facts.capabilities if name not in missing]
        return names if "rerank" in names or not self.ranks else [*names, "rerank"]

    def footprint(self, *, full_precision: bool) -> Footprint:
        """Estimate its memory with its settings. `full_precision` is that of `WeightBytes`."""
        draft = self.draft
        return predict_footprint(
            self.facts.weights,
            self.facts.kv_cache,
            self.options,
            adapter=self.adapter,
            draft=(draft.weights, draft.kv_cache) if draft is not None else None,
            full_precision=full_precision,
        )

    def is_outdated(self, resident: Resident) -> bool:
        """Whether the resident model was loaded from another folder or with other options."""
        return (resident.path, resident.options) != (str(self.path), self.options)
