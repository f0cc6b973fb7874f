"""Ollama's routes about models: lists, descriptions, downloads, embeddings.

Format: https://github.com/ollama/ollama/blob/main/docs/api.md. Sizes are in bytes, durations in
nanoseconds.
"""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from mlx_notebook.server.errors import InvalidRequest
from mlx_notebook.server.wire.ollama.ollama_options import (
    UNUSED_OPTIONS,
    KeepTime,
    OllamaOptions,
    keep_seconds,
)
from mlx_notebook.server.wire.ollama.ollama_requests import OllamaModelName
from mlx_notebook.server.wire.parameters.parameters import RequestParameters, unsupported_parameter

OLLAMA_API_VERSION = "0.13.0"
"""The version of Ollama whose API these routes follow."""


class OllamaVersion(Struct):
    """The version of Ollama whose API these routes follow, and what answers them."""

    version: str
    server: str


class OllamaModelDetails(Struct):
    """What kind of model it is. `family` is its architecture."""

    format: str
    family: str
    families: list[str] | None
    parameter_size: str
    quantization_level: str
    parent_model: str = ""


class OllamaModel(Struct, kw_only=True):
    """A model in a list. `digest` changes when the model's files change; it is not their hash."""

    name: str
    model: str
    size: int
    digest: str
    details: OllamaModelDetails
    modified_at: str | UnsetType = UNSET
    capabilities: list[str] | UnsetType = UNSET
    remote_model: str | UnsetType = UNSET
    remote_host: str | UnsetType = UNSET
    expires_at: str | UnsetType = UNSET
    size_vram: int | UnsetType = UNSET
    context_length: int | UnsetType = UNSET


class OllamaModelList(Struct):
    """Models."""

    models: list[OllamaModel]


class _NamedModel(RequestParameters, kw_only=True):
    """Base class of requests about one model. `name` is the older name of `model`."""

    model: OllamaModelName | None = None
    name: OllamaModelName | None = None

    @property
    def wanted(self) -> str:
        """The name of the model.

        Raises
        ------
        InvalidRequest
            There is none.
        """
        if name := self.model or self.name:
            return name
        raise InvalidRequest("The request needs 'model'.", param="model", code="missing_parameter")


class OllamaShowRequest(_NamedModel, kw_only=True):
    """The model to describe. `verbose` adds nothing here."""

    verbose: bool | None = None
    system: str | None = None
    template: str | None = None
    options: dict[str, Any] | None = None

    def unused(self) -> frozenset[str]:
        """Return the parameters that are validated and then ignored."""
        return frozenset({"verbose", "system", "template", "options"})


class OllamaShow(Struct):
    """A description of a model. There are no Modelfiles here: this one names the model only."""

    modelfile: str
    parameters: str
    template: str
    details: OllamaModelDetails
    model_info: dict[str, Any]
    capabilities: list[str]
    modified_at: str
    system: str | UnsetType = UNSET


class OllamaPullRequest(_NamedModel, kw_only=True):
    """The model to download. It is streamed unless `stream` is false."""

    stream: bool | None = None
    insecure: bool | None = None
    username: str | None = None
    password: str | None = None

    def check(self) -> None:
        """Check for unsupported features.

        Raises
        ------
        InvalidRequest
            The request needs one. `param` is the parameter.
        """
        for name in ("insecure", "username", "password"):
            if getattr(self, name):
                raise unsupported_parameter(name, "leave it out, since models are on Hugging Face")


class OllamaProgress(Struct):
    """The progress of a download, in bytes. The last status is "success"."""

    status: str
    digest: str | UnsetType = UNSET
    total: int | UnsetType = UNSET
    completed: int | UnsetType = UNSET


class _EmbeddingParameters(RequestParameters, kw_only=True):
    """Parameters of both embedding routes."""

    model: OllamaModelName
    options: OllamaOptions | None = None
    keep_alive: KeepTime | None = None

    def unused(self) -> frozenset[str]:
        """Return the parameters that are validated and then ignored."""
        # Vectors are not sampled.
        sampled = (f"options.{name}" for name in OllamaOptions.__struct_fields__)
        return frozenset({*UNUSED_OPTIONS, *sampled})

    @property
    def keeps(self) -> float | None:
        """How long the model is kept, in seconds. None: the server's own time.

        Raises
        ------
        InvalidRequest
            `keep_alive` is no time.
        """
        return keep_seconds(self.keep_alive)


class OllamaEmbedRequest(_EmbeddingParameters, kw_only=True):
    """Texts to embed. Texts that are too long are cut unless `truncate` is false."""

    input: str | Annotated[list[str], Meta(max_length=2048)]
    truncate: bool | None = None
    dimensions: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None

    @property
    def texts(self) -> list[str]:
        """The texts, without a single empty one, which only loads the model.

        Raises
        ------
        InvalidRequest
            One of several texts is empty.
        """
        if not self.input:
            return []
        texts = [self.input] if isinstance(self.input, str) else self.input
        for index, text in enumerate(texts):
            if not text:
                raise InvalidRequest(f"'input[{index}]' is empty.", param=f"input[{index}]")
        return texts


class OllamaEmbeddings(Struct):
    """The unit vectors of texts. `prompt_eval_count` is tokens of all texts."""

    model: str
    embeddings: list[list[float]]
    total_duration: int
    load_duration: int
    prompt_eval_count: int


class OllamaEmbeddingRequest(_EmbeddingParameters, kw_only=True):
    """One text to embed, by the older route."""

    prompt: str | None = None


class OllamaEmbedding(Struct):
    """The vector of one text."""

    embedding: list[float]


def parameter_size(count: int) -> str:
    """Return a number of parameters as Ollama writes it: "8.0B", "268.10M"."""
    if count >= 10**9:
        return f"{count / 1e9:.1f}B"
    return f"{count / 1e6:.2f}M" if count >= 10**6 else f"{count / 1e3:.2f}K"


SHOW_DECODER = msgspec.json.Decoder(OllamaShowRequest)
PULL_DECODER = msgspec.json.Decoder(OllamaPullRequest)
EMBED_DECODER = msgspec.json.Decoder(OllamaEmbedRequest)
EMBEDDING_DECODER = msgspec.json.Decoder(OllamaEmbeddingRequest)
