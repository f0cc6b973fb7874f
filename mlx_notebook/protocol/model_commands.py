"""Commands about models in memory, and the settings with which a model is loaded."""

from typing import Literal

import msgspec


class ModelOptions(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """Settings that apply when a model is loaded.

    Attributes
    ----------
    adapter
        Folder of a LoRA adapter.
    draft
        Folder of a draft model with the same vocabulary, for speculative decoding. Used while one
        sequence runs alone.
    prompt_lookup
        Maximum number of tokens per step that prompt lookup drafts (0: off). None: the engine's
        default. It is used with up to eight sequences, while it is faster.
    context_limit
        Maximum number of tokens of prompt and answer.
    kv_bits
        Bits to which the KV cache is quantised. None: not quantised.
    division
        How the model is divided among several ranks. None: by tensors where that can be.
    tool_dialect
        Name of the tool-call dialect. None: detected from the chat template.
    reranker
        Rank documents with this language model, by the prompt of Qwen3-Reranker.
    trust_remote_code
        Allow Python code from the model's folder.
    """

    adapter: str | None = None
    draft: str | None = None
    prompt_lookup: int | None = None
    context_limit: int | None = None
    kv_bits: Literal[4, 8] | None = None
    division: Literal["tensor", "pipeline"] | None = None
    tool_dialect: str | None = None
    reranker: bool = False
    trust_remote_code: bool = False


class Load(msgspec.Struct, kw_only=True, frozen=True, tag="load", omit_defaults=True):
    """Make a model resident; answered by `Loaded` or `Failed`.

    Attributes
    ----------
    pin
        Pin the model (True) or unpin it (False). None leaves it as it is.
    user
        The user who sends it. Users take turns. Empty: the one user of a server without JupyterHub.
    evict
        Whether other models may be evicted for it.
    """

    id: str
    model: str
    path: str
    options: ModelOptions = ModelOptions()
    pin: bool | None = None
    user: str = ""
    evict: bool = True


class Unload(msgspec.Struct, kw_only=True, frozen=True, tag="unload"):
    """Unload a model; answered by `Unloaded` or `Failed`."""

    id: str
    model: str


class Pin(msgspec.Struct, kw_only=True, frozen=True, tag="pin"):
    """Pin or unpin a resident model; answered by `Pinned` or `Failed`.

    A pinned model is not evicted, and not unloaded when it is idle.
    """

    id: str
    model: str
    pinned: bool


class Touch(msgspec.Struct, frozen=True, tag="keep"):
    """Mark a resident model as used now, so that its idle time starts again. There is no answer."""

    model: str


class Reserve(msgspec.Struct, kw_only=True, frozen=True, tag="reserve"):
    """Keep memory free for a job; answered by `Reserved` or `Failed`.

    Attributes
    ----------
    holder
        Id of the job. A second `Reserve` of the same job takes the place of the first.
    model
        Name of the model that the job works on, for messages.
    title
        What the job does, for messages, for example "fine-tuning of tiny-chat".
    bytes
        How much memory. Idle models are evicted if need be, and busy ones are waited for.
    evict
        Whether models may be evicted for it.
    """

    id: str
    holder: str
    model: str
    title: str
    bytes: int
    evict: bool = True


class Release(msgspec.Struct, frozen=True, tag="release"):
    """Give the memory of a job back. There is no answer."""

    holder: str
