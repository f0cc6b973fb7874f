"""Request bodies of Ollama's `api/chat` and `api/generate`.

Format: https://github.com/ollama/ollama/blob/main/docs/api.md.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from mlx_notebook.protocol import ChatPrompt, FillPrompt, OutputFormat, Sampling, TextPrompt
from mlx_notebook.server.errors import InvalidRequest
from mlx_notebook.server.wire.content import content_of
from mlx_notebook.server.wire.ollama.ollama_messages import (
    OllamaMessage,
    ollama_chat_messages,
    pieces_with_images,
)
from mlx_notebook.server.wire.ollama.ollama_options import (
    UNUSED_OPTIONS,
    KeepTime,
    OllamaOptions,
    keep_seconds,
)
from mlx_notebook.server.wire.openai.chat_request import effort_budget, template_kwargs
from mlx_notebook.server.wire.openai.tools import DescribedChatTool, template_tools
from mlx_notebook.server.wire.parameters.output_formats import json_format
from mlx_notebook.server.wire.parameters.parameters import RequestParameters, unsupported_parameter
from mlx_notebook.server.wire.parameters.sampling_parameters import continue_last_message
from mlx_notebook.server.wire.parameters.unsupported_parameters import Unsupported

OllamaModelName = Annotated[str, Meta(min_length=1, max_length=512)]
_ALL = frozenset({*UNUSED_OPTIONS, "truncate", "shift"})
# Ollama makes images with these.
_IMAGE_PARAMETERS = dict.fromkeys(
    ("width", "height", "steps"), Unsupported("leave it out: this server makes no images")
)


class OllamaRequest(RequestParameters, kw_only=True):
    """Parameters of `api/chat` and `api/generate`.

    `format` is "json" or a JSON schema. `think` turns reasoning on or off, or sets its effort.
    Answers are streamed unless `stream` is false.
    """

    model: OllamaModelName
    stream: bool | None = None
    format: str | dict[str, Any] | None = None
    options: OllamaOptions | None = None
    think: bool | Literal["low", "medium", "high", "max"] | None = None
    keep_alive: KeepTime | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None

    # Validated, then ignored: a prompt that is too long is an error here.
    truncate: bool | None = None
    shift: bool | None = None

    def unused(self) -> frozenset[str]:
        """Return the parameters that are validated and then ignored."""
        return _ALL

    @classmethod
    def unsupported_parameters(cls) -> Mapping[str, Unsupported]:
        """Return the parameters of Ollama that this server refuses."""
        return _IMAGE_PARAMETERS

    @property
    def streams(self) -> bool:
        """Whether the answer is a stream."""
        return self.stream is not False

    @property
    def keeps(self) -> float | None:
        """How long the model is kept after the answer, in seconds. None: the server's own time.

        Raises
        ------
        InvalidRequest
            `keep_alive` is no time.
        """
        return keep_seconds(self.keep_alive)

    def sampling(self) -> Sampling:
        """Return the sampling parameters for the engine.

        Raises
        ------
        InvalidRequest
            `top_logprobs` is set without `logprobs`.
        """
        if self.top_logprobs and not self.logprobs:
            raise InvalidRequest(
                "'top_logprobs' needs 'logprobs' to be true.", param="top_logprobs"
            )
        logprobs = (self.top_logprobs or 0) if self.logprobs else None
        return (self.options or OllamaOptions()).sampling(logprobs)

    def output_format(self) -> OutputFormat | None:
        """Return the format that the answer must have, if the request sets one.

        Raises
        ------
        InvalidRequest
            It is a text other than "json".
        """
        if self.format in (None, ""):
            return None
        if isinstance(self.format, str) and self.format != "json":
            raise InvalidRequest(
                f"'format' is \"json\" or a JSON schema, and not {self.format[:64]!r}.",
                param="format",
                code="invalid_value",
            )
        schema = self.format if isinstance(self.format, dict) else None
        return msgspec.structs.replace(json_format(schema), param="format")

    @property
    def reasoning_budget(self) -> int | None:
        """The reasoning budget in tokens, if `think` is an effort that has one."""
        return effort_budget(self.think) if isinstance(self.think, str) else None

    def for_template(self) -> dict[str, Any]:
        """Return the variables for the chat template."""
        if isinstance(self.think, str):
            return template_kwargs(None, self.think)
        return {} if self.think is None else {"enable_thinking": self.think}


class OllamaChatRequest(OllamaRequest, kw_only=True):
    """A chat to continue. Without messages the model is loaded, or unloaded."""

    messages: list[OllamaMessage] | None = None
    tools: list[DescribedChatTool] | None = None

    def prompt(self) -> ChatPrompt:
        """Return the prompt for the engine. The answer continues a last assistant message.

        Raises
        ------
        InvalidRequest
            The messages or the tools are invalid.
        """
        messages = self.messages or []
        prompt = ChatPrompt(
            messages=ollama_chat_messages(messages),
            tools=template_tools(self.tools or []),
            template_kwargs=self.for_template(),
        )
        if messages[-1].role == "assistant":
            return continue_last_message(prompt, f"messages[{len(messages) - 1}]")
        return prompt


class OllamaGenerateRequest(OllamaRequest, kw_only=True):
    """A prompt to answer. Without one the model is loaded, or unloaded.

    `suffix` is text after the answer. With `raw` the prompt is fed as it is, without the model's
    chat template.
    """

    prompt: str | None = None
    suffix: str | None = None
    system: str | None = None
    images: list[str] | None = None
    raw: bool | None = None

    # Refused if they would have an effect.
    template: str | None = None
    context: list[int] | None = None

    def engine_prompt(self) -> ChatPrompt | TextPrompt | FillPrompt:
        """Return the prompt for the engine.

        Raises
        ------
        InvalidRequest
            The request has parameters that this server does not have, or that do not fit.
        """
        if self.template:
            raise unsupported_parameter(
                "template", "leave it out, since a model's own template is used, or set 'raw'"
            )
        if self.context:
            raise unsupported_parameter("context", "send the conversation to api/chat")
        text = self.prompt or ""
        if self.suffix:
            self._check_alone("suffix", "system", "images", "think", "raw")
            return FillPrompt(prefix=text, suffix=self.suffix)
        if self.raw:
            self._check_alone("raw", "system", "images", "think")
            return TextPrompt(text=text)
        content = content_of(pieces_with_images(text, self.images, "images"))
        system = [{"role": "system", "content": self.system}] if self.system else []
        return ChatPrompt(
            messages=[*system, {"role": "user", "content": content}],
            template_kwargs=self.for_template(),
        )

    def _check_alone(self, name: str, *others: str) -> None:
        for other in others:
            if getattr(self, other):
                raise InvalidRequest(
                    f"'{other}' cannot be used with '{name}': leave one of them out.", param=other
                )


CHAT_DECODER = msgspec.json.Decoder(OllamaChatRequest)
GENERATE_DECODER = msgspec.json.Decoder(OllamaGenerateRequest)
