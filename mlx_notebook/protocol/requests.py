"""Commands that the server sends to the engine: requests, and all commands together."""

from typing import Any, Literal

import msgspec

from mlx_notebook.protocol.audio_messages import Speak, Transcribe
from mlx_notebook.protocol.model_commands import (
    Load,
    ModelOptions,
    Pin,
    Release,
    Reserve,
    Touch,
    Unload,
)

ImageDetail = Literal["auto", "low", "high"]


RESERVED_KWARGS = frozenset(
    {
        *("conversation", "conversations", "messages", "tools", "chat_template"),
        *("add_generation_prompt", "continue_final_message", "tokenize", "return_dict"),
        *("return_tensors", "return_assistant_tokens_mask", "sanitize_control_tokens"),
        *("padding", "truncation", "max_length", "tokenizer_kwargs", "processor_kwargs", "self"),
    }
)
"""Names that `ChatPrompt.template_kwargs` may not hold: parameters of the renderer itself."""


URGENT_ROWS = 2
"""Rows of a batch, beyond `max_batch`, and places in the queue that only urgent requests take."""


class Sampling(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """Sampling parameters. None: the value in the model's `generation_config`, else our default.

    Attributes
    ----------
    typical_p, xtc_probability
        1 and 0 turn these filters off.
    repeat_last_n
        Number of last tokens, of prompt and answer, that the penalties count. None: all.
    seed
        Seed of the request's rows.
    stop_token_ids
        Tokens that end a row, as the model's end tokens do.
    bad_words
        Texts that are never generated.
    allowed_token_ids
        The only tokens that may be sampled. None: all.
    ignore_eos
        Continue after the model's end tokens.
    logprobs
        Number of alternatives to report for each token (0: only the token itself). None: no log
        probabilities.
    """

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    typical_p: float = 1.0
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    repetition_penalty: float | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repeat_last_n: int | None = None
    logit_bias: dict[int, float] = {}
    seed: int | None = None
    max_tokens: int | None = None
    min_tokens: int = 0
    stop: list[str] = []
    stop_token_ids: list[int] = []
    bad_words: list[str] = []
    allowed_token_ids: list[int] | None = None
    ignore_eos: bool = False
    logprobs: int | None = None


class EncodedImage(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """An image as the client sent it (PNG, JPEG, ...), or the frames of a video.

    `where` names the part of the request that holds it. A video has more `frames` after `data`, and
    the `times` of all frames in seconds.
    """

    data: bytes
    where: str
    detail: ImageDetail = "auto"
    frames: list[bytes] = []
    times: list[float] = []


class EncodedSound(msgspec.Struct, kw_only=True, frozen=True):
    """A file of sound as the client sent it (WAV, MP3, FLAC).

    `where` names the part of the request that holds it. It may have `max_seconds`.
    """

    data: bytes
    where: str
    max_seconds: float


class ChatPrompt(msgspec.Struct, kw_only=True, frozen=True, tag="chat", omit_defaults=True):
    """Messages in OpenAI's format, which the model's chat template renders.

    A message's content is one text. If the message holds images or sounds, it is a list of
    `{"type": "text", "text": ...}`, `{"type": "image"}` and `{"type": "audio"}` parts. `images` and
    `sounds` hold those of all messages in order. `continues` leaves the last message, the
    assistant's, open: the model continues it. Only prompts with the same `image_salt` share
    processed images and sounds.
    """

    messages: list[dict[str, Any]]
    images: list[EncodedImage] = []
    sounds: list[EncodedSound] = []
    tools: list[dict[str, Any]] = []
    template_kwargs: dict[str, Any] = {}
    add_generation_prompt: bool = True
    continues: bool = False
    image_salt: str = ""


class TextPrompt(msgspec.Struct, kw_only=True, frozen=True, tag="text"):
    """Text or token ids, fed without a chat template."""

    text: str | list[int]


class FillPrompt(msgspec.Struct, kw_only=True, frozen=True, tag="fill", omit_defaults=True):
    """Text around a gap, which the model fills.

    A model with marks for fill-in-the-middle gets them. Any other gets a message for its chat
    template. Marks in the texts are text.

    Attributes
    ----------
    prefix, suffix
        The text before and after the gap.
    context
        Texts before the prefix that help, the nearest last.
    context_tokens
        Most tokens of the context. If this is set, a prefix or suffix that is too long for the
        model is cut. Otherwise it is an error.
    language
        Programming language; empty if it is not known.
    comment
        What begins a comment in that language.
    ends_with_block
        End the text where the line, the block or the brackets end, or where the suffix begins.
    single_line
        With `ends_with_block`: end after one line. None: if text follows the gap on its line.
    marks
        Whether the model's marks may be used. If not, its chat template is, where it has one.
    """

    prefix: str
    suffix: str
    context: list[str] = []
    context_tokens: int | None = None
    language: str = ""
    comment: str = "#"
    ends_with_block: bool = False
    single_line: bool | None = None
    marks: bool = True


Prompt = ChatPrompt | TextPrompt


class ToolChoice(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """Whether the model may (`auto`), must (`required`) or must not (`none`) call tools.

    `names` limits the choice to some of the prompt's tools (a named function, or OpenAI's
    `allowed_tools`). `parallel` allows more than one call in an answer.
    """

    mode: Literal["auto", "none", "required"] = "auto"
    names: list[str] | None = None
    parallel: bool = True


class OutputFormat(msgspec.Struct, kw_only=True, frozen=True):
    """Format of the answer, enforced token by token.

    `value` is a JSON schema, a regular expression, a list of texts to choose from, or a Lark
    grammar. It is None for `json_object`. `param` names the request's parameter, for errors.
    """

    kind: Literal["json_object", "json_schema", "regex", "choice", "grammar"]
    value: Any = None
    param: str | None = None


class Generate(msgspec.Struct, kw_only=True, frozen=True, tag="generate", omit_defaults=True):
    """Generate `n` rows from one prompt with the model in the folder `path`.

    Attributes
    ----------
    reasoning_budget
        Maximum number of reasoning tokens. None: no limit.
    prompt_logprobs
        Number of alternatives to report for each token of the prompt. None: no log probabilities.
    attention_from
        With `prompt_logprobs`: tell from which tokens before this place each token of the prompt
        from this place on took its attention. None: do not.
    cache_salt
        Only requests with the same salt share entries of the prefix cache, and other caches.
    shared_system, shared_salt
        A system prompt with which the prompt begins, and the salt of those who share it. Empty: no
        system prompt is shared.
    truncate_prompt
        Number of the prompt's last tokens to feed (-1: as many as leave room for the answer).
    token_ids
        Send `PromptTokenIds` and `TokenIds`.
    include_reasoning
        Read by the server only: False keeps the reasoning from the client.
    trace
        Send `Traced`.
    user, evict
        As for `Load`.
    urgent
        Somebody waits for it while typing: it goes before all that is not urgent.
    patient
        Nobody waits for it: it runs while the engine has nothing else to do.
    """

    id: str
    model: str
    path: str
    options: ModelOptions = ModelOptions()
    prompt: Prompt | FillPrompt
    sampling: Sampling = Sampling()
    n: int = 1
    tool_choice: ToolChoice = ToolChoice()
    output_format: OutputFormat | None = None
    reasoning_budget: int | None = None
    prompt_logprobs: int | None = None
    attention_from: int | None = None
    cache_salt: str = ""
    shared_system: str = ""
    shared_salt: str = ""
    truncate_prompt: int | None = None
    token_ids: bool = False
    include_reasoning: bool = True
    trace: bool = False
    user: str = ""
    evict: bool = True
    urgent: bool = False
    patient: bool = False


class Tokenize(msgspec.Struct, kw_only=True, frozen=True, tag="tokenize", omit_defaults=True):
    """Render and tokenize a prompt; answered by `Tokenized` or `Failed`.

    `pieces` asks for the text of each token. `user` and `evict` are as for `Load`.
    """

    id: str
    model: str
    path: str
    options: ModelOptions = ModelOptions()
    prompt: Prompt
    add_special_tokens: bool = True
    pieces: bool = False
    user: str = ""
    evict: bool = True


class Embed(msgspec.Struct, kw_only=True, frozen=True, tag="embed", omit_defaults=True):
    """Embed texts or token ids, or `chats`; answered by `Embedded` or `Failed`.

    A chat may hold images. It is rendered by the model's chat template. There are inputs or chats.

    `dimensions` shortens each vector to its first components and normalises it again. `truncate`
    cuts each input to its first tokens (-1: as many as the model takes). `user` and `evict` are as
    for `Load`, `patient` as for `Generate`.
    """

    id: str
    model: str
    path: str
    options: ModelOptions = ModelOptions()
    inputs: list[str | list[int]] = []
    chats: list[ChatPrompt] = []
    dimensions: int | None = None
    truncate: int | None = None
    user: str = ""
    evict: bool = True
    patient: bool = False


class Rerank(msgspec.Struct, kw_only=True, frozen=True, tag="rerank", omit_defaults=True):
    """Score documents by a query; answered by `Reranked` or `Failed`.

    Attributes
    ----------
    instruction
        What is relevant, for models that take one. None: as the model's own prompt says.
    max_tokens_per_document
        Most tokens of a document that are read. None: as many as the model takes.
    truncate
        Whether a document that is too long for the model is cut. Otherwise the command fails.
    user, evict
        As for `Load`.
    """

    id: str
    model: str
    path: str
    options: ModelOptions = ModelOptions()
    query: str
    documents: list[str]
    instruction: str | None = None
    max_tokens_per_document: int | None = None
    truncate: bool = True
    user: str = ""
    evict: bool = True


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    """Stop the request or the `Load` with this `id` at the next step. There is no answer."""

    id: str


class Configure(msgspec.Struct, kw_only=True, frozen=True, tag="configure"):
    """Change settings of a running engine. There is no answer.

    Attributes
    ----------
    idle_unload_minutes
        As in `EngineConfig`.
    """

    idle_unload_minutes: float


class Shutdown(msgspec.Struct, frozen=True, tag="shutdown"):
    """Stop all requests and exit."""


Command = (
    Generate
    | Tokenize
    | Embed
    | Transcribe
    | Rerank
    | Speak
    | Cancel
    | Load
    | Unload
    | Pin
    | Touch
    | Reserve
    | Release
    | Configure
    | Shutdown
)
