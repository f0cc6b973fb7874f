"""The words that server and engine exchange: plain msgspec structs, no behaviour.

The server sends one `Command` a ZMQ message; the engine answers with `Frame`s, each holding
every event of one decode step for all running requests. Both travel as msgpack, and events as
arrays, so that a step of 32 streams is one message of a few kilobytes.

Times are seconds (durations) or Unix seconds (moments); memory is bytes.
"""

from typing import Any, Literal

import msgspec

FinishReason = Literal["stop", "length", "tool_calls"]
Phase = Literal["queued", "loading", "prefill", "decode"]
Work = Literal["step", "first step", "loading", "preparation"]
ImageDetail = Literal["auto", "low", "high"]
ErrorCode = Literal[
    "invalid_request",
    "invalid_image",
    "context_length_exceeded",
    "vision_not_supported",
    "model_not_found",
    "model_load_failed",
    "insufficient_memory",
    "queue_full",
    "constraint_failed",
    "engine_error",
]


RESERVED_KWARGS = frozenset(
    {
        *("conversation", "conversations", "messages", "tools", "chat_template"),
        *("add_generation_prompt", "continue_final_message", "tokenize", "return_dict"),
        *("return_tensors", "return_assistant_tokens_mask", "sanitize_control_tokens"),
        *("padding", "truncation", "max_length", "tokenizer_kwargs", "processor_kwargs", "self"),
    }
)
"""Names that `ChatPrompt.template_kwargs` may not have: the renderer's own parameters."""


class EngineConfig(msgspec.Struct, kw_only=True, frozen=True):
    """What the engine is told once, on its command line, as JSON.

    `max_batch` is rows decoded together, `prefill_step` the most prompt tokens of one prefill
    chunk (how long a long prompt may hold up running streams). `memory_budget` is what all models
    together may take, in bytes (`None`: a share of the machine's), `max_resident` how many there
    may be (0: any number); a model that waits for memory lets later requests of those in its way
    go first for `swap_patience` seconds. `prefix_disk_path` is the folder where computed prompts
    outlive the engine, `prefix_disk_bytes` what they may take (0: nothing). `sandbox_seconds` is
    the processor time that rendering a chat template or decoding an image may take.
    """

    max_batch: int = 32
    prefill_step: int = 512
    max_prompt_tokens: int | None = None
    memory_budget: int | None = None
    max_resident: int = 0
    swap_patience: float = 5.0
    idle_unload_minutes: float = 15.0
    prefix_cache_entries: int = 64
    prefix_cache_bytes: int | None = None
    prefix_disk_path: str | None = None
    prefix_disk_bytes: int = 0
    sandbox_seconds: int = 10
    warm_up: bool = True
    log_level: str = "INFO"


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


class Picture(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """An encoded picture (PNG, JPEG, ...) as it came; `where` is the part of the request it is."""

    data: bytes
    where: str
    detail: ImageDetail = "auto"


class ChatPrompt(msgspec.Struct, kw_only=True, frozen=True, tag="chat", omit_defaults=True):
    """Messages in OpenAI's shape, to be rendered by the model's own chat template.

    A message's content is one text, or, where it shows pictures, a list of `{"type": "text",
    "text": ...}` and `{"type": "image"}`; `pictures` holds those of all messages, in their order.
    `continues` leaves the last message, which is the assistant's, open: the model goes on with it.
    """

    messages: list[dict[str, Any]]
    pictures: list[Picture] = []
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


# --- commands: server -> engine ---------------------------------------------------------------


class Generate(msgspec.Struct, kw_only=True, frozen=True, tag="generate", omit_defaults=True):
    """Generate `n` rows from one prompt with the model in the folder `path`.

    Only requests with the same `cache_salt` reuse each other's computed prompts.
    `truncate_prompt` feeds that many of the prompt's last tokens (-1: as many as leave room for
    the answer); `token_ids` asks for `PromptTokens` and `TokenIds`; `prompt_logprobs` is how many
    alternatives to report for each token of the prompt. Without `include_reasoning` the server
    keeps the thinking from the client.
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
    thinking_budget: int | None = None
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


# --- events: engine -> server -----------------------------------------------------------------


class Ready(msgspec.Struct, frozen=True, tag="ready", array_like=True):
    """The first event of an engine process."""

    pid: int
    device: str
    versions: dict[str, str]


class Loading(msgspec.Struct, frozen=True, tag="loading", array_like=True):
    """Request `id` waits for its model, which has been loading for `seconds`."""

    id: str
    model: str
    seconds: float


class Prefill(msgspec.Struct, frozen=True, tag="prefill", array_like=True):
    """`done` of `total` prompt tokens of request `id` are computed, `cached` of them reused.

    Sent once when the prompt is admitted (`done == cached`), then after each chunk.
    """

    id: str
    done: int
    total: int
    cached: int


class TokenLogprob(msgspec.Struct, frozen=True, array_like=True):
    """One token as text and bytes, its log probability, and the most likely alternatives."""

    token: str
    logprob: float
    bytes: list[int]
    top: list[tuple[str, float, list[int]]]


class Text(msgspec.Struct, frozen=True, tag="text", array_like=True):
    """New content of row `row`; `tokens` is how many tokens were decoded since the last event."""

    id: str
    row: int
    text: str
    tokens: int
    logprobs: list[TokenLogprob] | None = None


class Reasoning(msgspec.Struct, frozen=True, tag="reasoning", array_like=True):
    """New text of the model's thinking."""

    id: str
    row: int
    text: str
    tokens: int
    logprobs: list[TokenLogprob] | None = None


class ToolCallStart(msgspec.Struct, frozen=True, tag="call", array_like=True):
    """The `index`-th tool call of a row begins."""

    id: str
    row: int
    index: int
    call_id: str
    name: str


class ToolCallDelta(msgspec.Struct, frozen=True, tag="arguments", array_like=True):
    """More of a call's arguments: JSON text, to be concatenated."""

    id: str
    row: int
    index: int
    arguments: str


class Finished(msgspec.Struct, frozen=True, tag="finished", array_like=True):
    """A row ended; nothing more of it follows. `stop` is the stop text that ended it, if any."""

    id: str
    row: int
    reason: FinishReason
    stop: str | None = None


class Usage(msgspec.Struct, frozen=True, array_like=True):
    """Token counts of a whole request; `cached` is the part of `prompt` that was reused."""

    prompt: int
    completion: int
    cached: int
    reasoning: int


class Timings(msgspec.Struct, frozen=True, array_like=True):
    """Seconds that a request waited, loaded its model, prefilled, took to a token, decoded."""

    queued: float
    loading: float
    prefill: float
    first_token: float
    decode: float


class PromptLogprobs(msgspec.Struct, frozen=True, tag="prompt_logprobs", array_like=True):
    """Log probabilities of the prompt's own tokens; of the first one there is none.

    `ids` holds for each token its id and those of its alternatives, `ranks` its place among all
    tokens (1: the likeliest).
    """

    id: str
    tokens: list[TokenLogprob | None]
    ids: list[list[int]]
    ranks: list[int]


class PromptTokens(msgspec.Struct, frozen=True, tag="prompt_tokens", array_like=True):
    """For a `Generate` with `token_ids`, before anything else of its rows: the prompt as fed."""

    id: str
    ids: list[int]


class TokenIds(msgspec.Struct, frozen=True, tag="token_ids", array_like=True):
    """For a `Generate` with `token_ids`: what a row was given in this step, end tokens too."""

    id: str
    row: int
    ids: list[int]


class Problem(msgspec.Struct, frozen=True, array_like=True):
    """Text that looked like a tool call and was none, and why."""

    raw: str
    reason: str


class RowTrace(msgspec.Struct, frozen=True, array_like=True):
    """What one row's model really wrote, marks included, and what could not be parsed of it."""

    raw: str
    problems: list[Problem]


class Traced(msgspec.Struct, frozen=True, tag="traced", array_like=True):
    """For a `Generate` with `trace`, just before its last event: the prompt as it was fed."""

    id: str
    prompt: str
    rows: list[RowTrace]


class Tokenized(msgspec.Struct, frozen=True, tag="tokenized", array_like=True):
    """Answer to `Tokenize`: the text that is fed, its tokens, and each one's own text if asked."""

    id: str
    text: str
    tokens: list[int]
    pieces: list[str]


class Embedded(msgspec.Struct, frozen=True, tag="embedded", array_like=True):
    """Answer to `Embed`: one unit vector an input, as little-endian float32; `tokens` were fed."""

    id: str
    vectors: list[bytes]
    tokens: int


class Done(msgspec.Struct, frozen=True, tag="done", array_like=True):
    """The last event of a request that was answered: all of its rows have finished."""

    id: str
    usage: Usage
    timings: Timings


class Failed(msgspec.Struct, frozen=True, tag="failed", array_like=True):
    """The last event of a request that could not be answered, or not to its end.

    `message` says in one sentence what happened and what to do; `param` is the request's
    parameter at fault, if one is.
    """

    id: str
    code: ErrorCode
    message: str
    param: str | None = None


class Resident(msgspec.Struct, frozen=True, array_like=True):
    """A model in memory. `context_length` is in tokens, `bytes` what its weights take.

    A pinned one leaves only when it is told to. `vision` tells whether it can be shown pictures.
    `path` and `options` are those it was loaded with: a request that names others loads it anew.
    """

    model: str
    bytes: int
    context_length: int
    loaded_at: float
    last_used: float
    active: int
    pinned: bool
    vision: bool
    path: str
    options: ModelOptions


class Loaded(msgspec.Struct, frozen=True, tag="loaded", array_like=True):
    """Answer to `Load`: the model is resident; `seconds` is how long that took (0 if it was)."""

    id: str
    resident: Resident
    seconds: float


class Unloaded(msgspec.Struct, frozen=True, tag="unloaded", array_like=True):
    """Answer to `Unload`; `freed` bytes were given back."""

    id: str
    model: str
    freed: int


class Pinned(msgspec.Struct, frozen=True, tag="pinned", array_like=True):
    """Answer to `Pin`: how it is now."""

    id: str
    model: str
    pinned: bool


class LiveRequest(msgspec.Struct, frozen=True, array_like=True):
    """A request that has not ended. `prefilled` and `prompt_tokens` count tokens."""

    id: str
    model: str
    phase: Phase
    prompt_tokens: int
    cached_tokens: int
    prefilled: int
    generated_tokens: int
    tokens_per_second: float
    age: float


class Totals(msgspec.Struct, frozen=True, array_like=True):
    """Counts since this engine process began."""

    requests: int = 0
    finished: int = 0
    cancelled: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0


class Memory(msgspec.Struct, frozen=True, array_like=True):
    """Bytes: MLX's active, cached and peak memory, the process's own, and what prefixes hold."""

    active: int
    cache: int
    peak: int
    process: int
    prefixes: int


class LoadProgress(msgspec.Struct, frozen=True, array_like=True):
    """How many bytes of the weights of the model that is being loaded are in memory."""

    model: str
    done: int
    total: int


class Stats(msgspec.Struct, frozen=True, tag="stats", array_like=True):
    """The engine's state: at most four times a second under load, once a second when idle.

    `loading` names the models that are loading or wait for memory, in their order; `progress` is
    that of the first one, once it has begun. `budget` is what models may take, in bytes.
    `decode_rate` and `prefill_rate` are tokens a second over the last second.
    """

    resident: list[Resident]
    loading: list[str]
    requests: list[LiveRequest]
    totals: Totals
    memory: Memory
    decode_rate: float
    prefill_rate: float
    budget: int
    progress: LoadProgress | None = None


class Working(msgspec.Struct, frozen=True, tag="working", array_like=True):
    """A sign of life while the engine is held, so that no other event comes.

    `work` is what it is doing: a step of a model, a first step (which may compile), a part of
    loading a model, or the preparation of prompts, of which none gets ready. `seconds` is for how
    long; pauses of the process do not count.
    """

    work: Work
    seconds: float


Event = (
    Ready
    | Loading
    | Prefill
    | Text
    | Reasoning
    | ToolCallStart
    | ToolCallDelta
    | Finished
    | PromptLogprobs
    | PromptTokens
    | TokenIds
    | Traced
    | Tokenized
    | Embedded
    | Done
    | Failed
    | Loaded
    | Unloaded
    | Pinned
    | Stats
    | Working
)


class Frame(msgspec.Struct, frozen=True, array_like=True):
    """All events of one step."""

    events: list[Event]
