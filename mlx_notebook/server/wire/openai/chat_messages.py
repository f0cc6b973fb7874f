"""Request messages of `v1/chat/completions`, and their conversion for the engine."""

import json
from typing import Any, Literal

from msgspec import Struct

from mlx_notebook.server.errors import InvalidRequest
from mlx_notebook.server.wire.content import (
    AudioFormat,
    AudioSource,
    ContentPiece,
    DocumentSource,
    FramesPerSecond,
    FrameUrls,
    ImageSource,
    MaxFrames,
    PagesAs,
    RequestedDetail,
    VideoSource,
    content_of,
    one_source,
    text_of,
)
from mlx_notebook.server.wire.conversation import (
    ChatMessage,
    with_one_system_message,
    with_ordered_tool_results,
)


class TextPart(Struct, tag_field="type", tag="text"):
    """A text part of a message."""

    text: str


class RefusalPart(Struct, tag_field="type", tag="refusal"):
    """An assistant's refusal in an earlier turn."""

    refusal: str


class ImageUrl(Struct):
    """The source of an image: a data URI, base64, or a URL that the server's settings allow.

    Or it is the file `file_id` of the user.
    """

    url: str | None = None
    detail: RequestedDetail | None = None
    file_id: str | None = None


class ImagePart(Struct, tag_field="type", tag="image_url"):
    """An image, in a user message or a tool result."""

    image_url: ImageUrl | str


class AudioData(Struct):
    """A file of sound in base64."""

    data: str
    format: AudioFormat


class AudioPart(Struct, tag_field="type", tag="input_audio"):
    """A sound, in a user message or a tool result, for a model that hears."""

    input_audio: AudioData


class FileContent(Struct):
    """A PDF: a data URI, base64, or a URL that the server's settings allow.

    Or it is the file `file_id` of the user.
    """

    file_data: str | None = None
    filename: str | None = None
    file_id: str | None = None


class FilePart(Struct, tag_field="type", tag="file"):
    """A PDF, in a user message or a tool result.

    `pages` chooses pages, for example "1-3,7". With `pages_as: text` the model gets their text.
    """

    file: FileContent
    pages: str | None = None
    pages_as: PagesAs | None = None


class VideoUrl(Struct):
    """The source of a video: a data URI, base64, or a URL that the server's settings allow.

    Or it is the file `file_id` of the user.
    """

    url: str | None = None
    file_id: str | None = None


class VideoPart(Struct, tag_field="type", tag="video_url"):
    """A video, in a user message or a tool result."""

    video_url: VideoUrl | str
    fps: FramesPerSecond | None = None
    max_frames: MaxFrames | None = None


class FramesPart(Struct, tag_field="type", tag="video"):
    """A video as a list of its frames, `fps` of them a second. Each is given as an image is."""

    video: FrameUrls
    fps: FramesPerSecond | None = None
    max_frames: MaxFrames | None = None


MessagePart = TextPart | RefusalPart | ImagePart | AudioPart | FilePart | VideoPart | FramesPart
MessageContent = str | list[MessagePart]


class ToolCallFunction(Struct):
    """The function of an earlier tool call. `arguments` is JSON text or an object."""

    name: str
    arguments: str | dict[str, Any] | None = None


class ToolCall(Struct):
    """A tool call of an earlier turn. Some clients send only `function`."""

    function: ToolCallFunction
    id: str | None = None
    type: Literal["function"] | None = None
    index: int | None = None


class SystemMessage(Struct, tag_field="role", tag="system"):
    """A system message."""

    content: MessageContent
    name: str | None = None


class DeveloperMessage(Struct, tag_field="role", tag="developer"):
    """A system message under the name that newer OpenAI clients use."""

    content: MessageContent
    name: str | None = None


class UserMessage(Struct, tag_field="role", tag="user"):
    """A user message."""

    content: MessageContent
    name: str | None = None


class AssistantMessage(Struct, tag_field="role", tag="assistant"):
    """An assistant message. Reasoning is read from `reasoning_content` or `reasoning`.

    With `prefix` (Mistral, DeepSeek) or `partial` (Moonshot) the answer continues this message.
    """

    content: MessageContent | None = None
    name: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    audio: Any = None
    function_call: Any = None
    prefix: bool | None = None
    partial: bool | None = None


class ToolMessage(Struct, tag_field="role", tag="tool"):
    """A tool result."""

    content: MessageContent | None = None
    tool_call_id: str | None = None
    name: str | None = None


RequestMessage = SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage


def engine_messages(messages: list[RequestMessage]) -> list[ChatMessage]:
    """Return the messages for the engine. Equal messages have equal keys in the same order.

    Raises
    ------
    InvalidRequest
        A message has unsupported content, or a tool result matches no call.
    """
    rendered = [_rendered(message, f"messages[{at}]") for at, message in enumerate(messages)]
    return with_one_system_message(with_ordered_tool_results(rendered))


def _rendered(message: RequestMessage, path: str) -> ChatMessage:
    """Return a message as chat templates expect it."""
    pieces = _pieces(message.content, f"{path}.content")
    match message:
        case SystemMessage() | DeveloperMessage():
            return {"role": "system", "content": text_of(pieces, "system")}
        case UserMessage():
            rendered: ChatMessage = {"role": "user", "content": content_of(pieces)}
        case AssistantMessage():
            return _assistant(message, text_of(pieces, "assistant"), path)
        case ToolMessage():
            rendered = {"role": "tool", "content": content_of(pieces)}
            if message.tool_call_id:
                rendered["tool_call_id"] = message.tool_call_id
    if message.name is not None:
        rendered["name"] = message.name
    return rendered


def _assistant(message: AssistantMessage, content: str, path: str) -> ChatMessage:
    for name in ("audio", "function_call"):
        if getattr(message, name) is not None:
            raise InvalidRequest(
                f"'{path}.{name}' is not supported by this server: leave it out.",
                param=f"{path}.{name}",
                code="unsupported_parameter",
            )
    rendered: ChatMessage = {"role": "assistant", "content": content or message.refusal or ""}
    if reasoning := message.reasoning_content or message.reasoning:
        rendered["reasoning_content"] = reasoning
    if message.tool_calls:
        rendered["tool_calls"] = [_call(call) for call in message.tool_calls]
    if message.name is not None:
        rendered["name"] = message.name
    return rendered


def _call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.function.name, "arguments": _arguments(call.function.arguments)}
    return {"id": call.id, "type": "function", "function": function}


def _arguments(arguments: str | dict[str, Any] | None) -> dict[str, Any] | str:
    """Return arguments as an object, so that the template can format them.

    Text that is not a JSON object stays as the model wrote it.
    """
    if not isinstance(arguments, str):
        return arguments or {}
    if not arguments.strip():
        return {}
    try:
        parsed = json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments
    return parsed if isinstance(parsed, dict) else arguments


def _pieces(content: MessageContent | None, path: str) -> list[ContentPiece]:
    if content is None or isinstance(content, str):
        return [content or ""]
    pieces: list[ContentPiece] = []
    for index, part in enumerate(content):
        match part:
            case TextPart():
                pieces.append(part.text)
            case RefusalPart():
                pieces.append(part.refusal)
            case ImagePart(image_url=image):
                image = ImageUrl(image) if isinstance(image, str) else image
                where = f"{path}[{index}].image_url"
                given, _ = one_source(where, {"url": image.url, "file_id": image.file_id})
                pieces.append(ImageSource.of(given, where, image.detail))
            case AudioPart(input_audio=audio):
                pieces.append(AudioSource(audio.data, f"{path}[{index}].input_audio"))
            case FilePart():
                pieces.append(_document(part, f"{path}[{index}]"))
            case VideoPart(video_url=video):
                video = VideoUrl(video) if isinstance(video, str) else video
                where = f"{path}[{index}]"
                fields = {"url": video.url, "file_id": video.file_id}
                given, _ = one_source(f"{where}.video_url", fields)
                pieces.append(VideoSource.of(given, where, "video_url", part.fps, part.max_frames))
            case FramesPart():
                where = f"{path}[{index}]"
                pieces.append(VideoSource.of(part.video, where, "video", part.fps, part.max_frames))
    return pieces


def _document(part: FilePart, path: str) -> DocumentSource:
    file = part.file
    fields = {"file_data": file.file_data, "file_id": file.file_id}
    given, name = one_source(f"{path}.file", fields)
    heading = (file.filename,) if file.filename else ()
    field = f"{path}.file.{name}"
    return DocumentSource(given, path, field, heading, part.pages, part.pages_as)
