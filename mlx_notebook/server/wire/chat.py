"""`POST v1/chat/completions`: what comes in.

Format: https://platform.openai.com/docs/api-reference/chat/create, and the further parameters
that OpenAI's SDKs send through `extra_body` for servers like this one.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from mlx_notebook.messages import ChatPrompt, Sampling
from mlx_notebook.server.errors import InvalidRequest

# --- messages -----------------------------------------------------------------------------------


class TextPart(Struct, tag_field="type", tag="text"):
    """Text of a message that comes in parts."""

    text: str


class RefusalPart(Struct, tag_field="type", tag="refusal"):
    """What the assistant refused to do, in the history."""

    refusal: str


class ImagePart(Struct, tag_field="type", tag="image_url"):
    """An image."""

    image_url: Any


class AudioPart(Struct, tag_field="type", tag="input_audio"):
    """Sound."""

    input_audio: Any


class FilePart(Struct, tag_field="type", tag="file"):
    """A file."""

    file: Any


Part = TextPart | RefusalPart | ImagePart | AudioPart | FilePart
Content = str | list[Part]


class Function(Struct):
    """The function that a call in the history named, and its arguments as JSON or as an object."""

    name: str
    arguments: str | dict[str, Any] | None = None


class ToolCall(Struct):
    """A tool call in the history; clients leave out all but `function`."""

    function: Function
    id: str | None = None
    type: Literal["function"] | None = None
    index: int | None = None


class SystemMessage(Struct, tag_field="role", tag="system"):
    """Instructions."""

    content: Content
    name: str | None = None


class DeveloperMessage(Struct, tag_field="role", tag="developer"):
    """Instructions, as newer clients of OpenAI call them."""

    content: Content
    name: str | None = None


class UserMessage(Struct, tag_field="role", tag="user"):
    """What the user said."""

    content: Content
    name: str | None = None


class AssistantMessage(Struct, tag_field="role", tag="assistant"):
    """What a model answered."""

    content: Content | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    reasoning_content: str | None = None


class ToolMessage(Struct, tag_field="role", tag="tool"):
    """What a tool returned."""

    content: Content
    tool_call_id: str | None = None
    name: str | None = None


Message = SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage

# --- the request --------------------------------------------------------------------------------

_Count = Annotated[int, Meta(ge=1, le=2**31 - 1)]
_Penalty = Annotated[float, Meta(ge=-2, le=2)]
_StopText = Annotated[str, Meta(min_length=1, max_length=4096)]


class StreamOptions(Struct):
    """`include_usage` adds a last chunk with the token counts."""

    include_usage: bool = False


class ResponseFormat(Struct):
    """The shape asked of the answer."""

    type: str


class ChatCompletionRequest(Struct, kw_only=True):
    """A chat to be continued; everything but `messages` is optional.

    Without `model` the server's default model answers. Without `max_tokens` the rest of the
    context may be used, at most 4096 tokens. Sampling parameters that are left out come from the
    model's own generation settings.
    """

    messages: Annotated[list[Message], Meta(min_length=1)]
    model: Annotated[str, Meta(max_length=512)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Meta(ge=1, le=16)] | None = None

    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    presence_penalty: _Penalty | None = None
    frequency_penalty: _Penalty | None = None
    logit_bias: dict[Annotated[int, Meta(ge=0)], Annotated[float, Meta(ge=-100, le=100)]] | None = (
        None
    )
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    max_tokens: _Count | None = None
    max_completion_tokens: _Count | None = None
    stop: _StopText | Annotated[list[_StopText], Meta(max_length=16)] | None = None

    # What OpenAI does not have and local models do.
    top_k: Annotated[int, Meta(ge=-1, le=2**31 - 1)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Meta(gt=0, le=100)] | None = None
    ignore_eos: bool | None = None
    min_tokens: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = (
        None
    )

    # Taken only where they ask for nothing: see `_refuse_unsupported`.
    tools: list[Any] | None = None
    tool_choice: Any = None
    functions: list[Any] | None = None
    function_call: Any = None
    response_format: ResponseFormat | None = None
    structured_outputs: Any = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    modalities: list[str] | None = None
    audio: Any = None
    web_search_options: Any = None

    def prompt(self) -> ChatPrompt:
        """Return the messages for the engine.

        Raises:
            InvalidRequest: The request asks for something that this server does not have.
        """
        self._refuse_unsupported()
        kwargs = dict(self.chat_template_kwargs or {})
        if self.reasoning_effort is not None:
            thinks = self.reasoning_effort not in ("none", "minimal")
            kwargs.setdefault("enable_thinking", thinks)
        messages = [_rendered(message, at) for at, message in enumerate(self.messages)]
        return ChatPrompt(messages=messages, template_kwargs=kwargs)

    def sampling(self) -> Sampling:
        """Return how tokens are to be chosen."""
        stop = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return Sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=0 if self.top_k == -1 else self.top_k,
            min_p=self.min_p,
            repetition_penalty=self.repetition_penalty,
            presence_penalty=self.presence_penalty or 0.0,
            frequency_penalty=self.frequency_penalty or 0.0,
            logit_bias=self.logit_bias or {},
            seed=self.seed,
            max_tokens=self.max_completion_tokens or self.max_tokens,
            min_tokens=self.min_tokens or 0,
            stop=stop,
            ignore_eos=bool(self.ignore_eos),
        )

    def _refuse_unsupported(self) -> None:
        asked = {
            "tools": bool(self.tools),
            "tool_choice": self.tool_choice not in (None, "none", "auto"),
            "functions": bool(self.functions),
            "function_call": self.function_call not in (None, "none", "auto"),
            "response_format": (
                self.response_format is not None and self.response_format.type != "text"
            ),
            "structured_outputs": bool(self.structured_outputs),
            "logprobs": bool(self.logprobs),
            "top_logprobs": self.top_logprobs is not None,
            "modalities": "audio" in (self.modalities or ()),
            "audio": self.audio is not None,
            "web_search_options": self.web_search_options is not None,
        }
        for name, is_asked in asked.items():
            if is_asked:
                raise InvalidRequest(
                    f"'{name}' is not supported by this server: leave it out.",
                    param=name,
                    code="unsupported_parameter",
                )


DECODER = msgspec.json.Decoder(ChatCompletionRequest)


def _rendered(message: Message, at: int) -> dict[str, Any]:
    """Return a message as chat templates expect it: a role of theirs and content as one string."""
    match message:
        case SystemMessage() | DeveloperMessage():
            rendered: dict[str, Any] = {"role": "system"}
        case UserMessage():
            rendered = {"role": "user"}
        case ToolMessage():
            rendered = {"role": "tool"}
            if message.tool_call_id is not None:
                rendered["tool_call_id"] = message.tool_call_id
        case AssistantMessage():
            rendered = {"role": "assistant"}
            if message.tool_calls:
                rendered["tool_calls"] = [_call(call) for call in message.tool_calls]
            if message.reasoning_content:
                rendered["reasoning_content"] = message.reasoning_content
    rendered["content"] = _text(message.content, f"messages[{at}].content")
    if message.name is not None:
        rendered["name"] = message.name
    return rendered


def _call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.function.name, "arguments": call.function.arguments or {}}
    rendered: dict[str, Any] = {"type": "function", "function": function}
    if call.id is not None:
        rendered["id"] = call.id
    return rendered


def _text(content: Content | None, path: str) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    texts = []
    for index, part in enumerate(content):
        match part:
            case TextPart():
                texts.append(part.text)
            case RefusalPart():
                texts.append(part.refusal)
            case _:
                kind = part.__struct_config__.tag
                raise InvalidRequest(
                    f"'{kind}' parts are not supported by this model: send text.",
                    param=f"{path}[{index}]",
                    code="unsupported_content",
                )
    return "\n".join(texts)
