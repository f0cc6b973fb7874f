"""What the server asks of the engine: requests, and commands about models."""

from typing import Any, Literal

import msgspec

ImageDetail = Literal["auto", "low", "high"]


RESERVED_KWARGS = frozenset(
    {
        *("conversation", "conversations", "messages", "tools", "chat_template"),
        *("add_generation_prompt", "continue_final_message", "tokenize", "return_dict"),
        *("return_tensors", "return_assistant_tokens_mask", "sanitize_control_tokens"),
        *("padding", "truncation", "max_length", "tokenizer_kwargs", "processor_kwargs", "self"),
    }
)
"""Names that `ChatPrompt.template_kwargs` may not have: the renderer's own parameters."""


class Sampling(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """How tokens are chosen; `None` means the model's own `generation_config`, then our default.

    `seed` fixes the random stream of the request's rows; `logprobs` is how many alternatives to
    report for each token (0: only the chosen one, `None`: none at all). `stop_token_ids` end a row
    like the model's own end tokens; `bad_words` are never completed; of `allowed_token_ids` alone
    tokens are chosen. `typical_p` of 1 and `xtc_probability` of 0 are off. With `repeat_last_n` all
    penalties count only the last so many tokens of prompt and answer.
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
    """An image as the client sent it (PNG, JPEG, ...).

    `where` names the part of the request that holds it.
    """

    data: bytes
    where: str
    detail: ImageDetail = "auto"


class ChatPrompt(msgspec.Struct, kw_only=True, frozen=True, tag="chat", omit_defaults=True):
    """Messages in OpenAI's shape, to be rendered by the model's own chat template.

    A message's content is one text. If the message holds images, it is a list of
    `{"type": "text", "text": ...}` and `{"type": "image"}` parts, and `images` holds the images of
    all messages in order. `continues` leaves the last message, the assistant's, open: the model
    continues it.
    """

    messages: list[dict[str, Any]]
    images: list[EncodedImage] = []
    tools: list[dict[str, Any]] = []
    template_kwargs: dict[str, Any] = {}
    add_generation_prompt: bool = True
    continues: bool = False


class TextPrompt(msgspec.Struct, kw_only=True, frozen=True, tag="text"):
    """Text or token ids fed as they are."""

    text: str | list[int]


Prompt = ChatPrompt | TextPrompt


class ToolChoice(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """Whether the model may, must or must not call the prompt's tools.

    `names` narrows the choice to some of them (a named function, or OpenAI's `allowed_tools`);
    `parallel` allows more than one call in an answer.
    """

    mode: Literal["auto", "none", "required"] = "auto"
    names: list[str] | None = None
    parallel: bool = True


class OutputFormat(msgspec.Struct, kw_only=True, frozen=True):
    """What the answer must look like; enforced token by token.

    `value` is a JSON schema, a regular expression, a list of texts to choose from, or a Lark
    grammar; nothing for `json_object`. `param` is the request's parameter that asks for it.
    """

    kind: Literal["json_object", "json_schema", "regex", "choice", "grammar"]
    value: Any = None
    param: str | None = None


class ModelOptions(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """How a model is to be loaded, as far as its settings say so; all of it has a default.

    `adapter` is the folder of a LoRA adapter. For requests that are alone, `draft` is the folder of
    a smaller model of the same vocabulary that guesses tokens, `prompt_lookup` how many tokens at
    most are guessed from what was said before (0: none). `context_limit` is in tokens; `kv_bits`
    quantises kept keys and values; `trust_remote_code` allows Python code from the model's folder.
    """

    adapter: str | None = None
    draft: str | None = None
    prompt_lookup: int = 0
    context_limit: int | None = None
    kv_bits: Literal[4, 8] | None = None
    tool_dialect: str | None = None
    trust_remote_code: bool = False


class Generate(msgspec.Struct, kw_only=True, frozen=True, tag="generate", omit_defaults=True):
    """Generate `n` rows from one prompt with the model in the folder `path`.

    Only requests with the same `cache_salt` reuse each other's computed prompts.
    `truncate_prompt` feeds that many of the prompt's last tokens (-1: as many as leave room for
    the answer); `token_ids` asks for `PromptTokens` and `TokenIds`; `prompt_logprobs` is how many
    alternatives to report for each token of the prompt. Without `include_reasoning` the server
    keeps the reasoning from the client.
    """

    id: str
    model: str
    path: str
    options: ModelOptions = ModelOptions()
    prompt: Prompt
    sampling: Sampling = Sampling()
    n: int = 1
    tool_choice: ToolChoice = ToolChoice()
    output_format: OutputFormat | None = None
    reasoning_budget: int | None = None
    prompt_logprobs: int | None = None
    cache_salt: str = ""
    truncate_prompt: int | None = None
    token_ids: bool = False
    include_reasoning: bool = True
    trace: bool = False


class Tokenize(msgspec.Struct, kw_only=True, frozen=True, tag="tokenize"):
    """Show what a prompt becomes; answered by `Tokenized` or `Failed` with this `id`.

    `pieces` asks for each token's own text.
    """

    id: str
    model: str
    path: str
    options: ModelOptions = ModelOptions()
    prompt: Prompt
    add_special_tokens: bool = True
    pieces: bool = False


class Embed(msgspec.Struct, kw_only=True, frozen=True, tag="embed"):
    """Embed texts (or token ids); answered by `Embedded` or `Failed` with this `id`.

    `dimensions` keeps that many leading components and normalises them again; of each input the
    first `truncate` tokens are embedded (-1: as many as the model takes).
    """

    id: str
    model: str
    path: str
    options: ModelOptions = ModelOptions()
    inputs: list[str | list[int]]
    dimensions: int | None = None
    truncate: int | None = None


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    """Stop request or `Load` `id` at the next step; answered by nothing."""

    id: str


class Load(msgspec.Struct, kw_only=True, frozen=True, tag="load"):
    """Make a model resident; answered by `Loaded` or `Failed` with this `id`.

    `pin` says whether it is to stay in memory from now on; `None` leaves that as it is.
    """

    id: str
    model: str
    path: str
    options: ModelOptions = ModelOptions()
    pin: bool | None = None


class Unload(msgspec.Struct, kw_only=True, frozen=True, tag="unload"):
    """Give a model's memory back; answered by `Unloaded` or `Failed` with this `id`."""

    id: str
    model: str


class Pin(msgspec.Struct, kw_only=True, frozen=True, tag="pin"):
    """Keep a resident model in memory, or no longer; answered by `Pinned` or `Failed`."""

    id: str
    model: str
    pinned: bool


class Keep(msgspec.Struct, frozen=True, tag="keep"):
    """Count a resident model as used now, so that it is not unloaded as idle; never answered."""

    model: str


class Shutdown(msgspec.Struct, frozen=True, tag="shutdown"):
    """Stop everything and leave."""


Command = Generate | Tokenize | Embed | Cancel | Load | Unload | Pin | Keep | Shutdown
