"""Write a request for an upstream, and refuse what the upstream does not have."""

import base64
import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import msgspec

from mlx_notebook.protocol import (
    ChatPrompt,
    EncodedImage,
    Generate,
    Sampling,
    TextPrompt,
    ToolChoice,
)
from mlx_notebook.server.errors import InvalidRequest
from mlx_notebook.server.upstreams.upstream_settings import SEPARATOR, UpstreamSettings
from mlx_notebook.server.wire.content import CheckedImage
from mlx_notebook.server.wire.parameters.parameters import RequestParameters

# Parameters of OpenAI's API that an upstream gets as the client sent them.
_PASSED = frozenset(
    {
        *("prediction", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"),
        *("reasoning_effort", "safety_identifier", "service_tier", "suffix", "user", "verbosity"),
        *("web_search_options",),
    }
)
# Parameters that the server reads from all its APIs, and writes in its own words.
_WRITTEN = frozenset(
    {
        *("temperature", "top_p", "top_k", "min_p", "typical_p", "xtc_probability"),
        *("xtc_threshold", "repetition_penalty", "repeat_penalty", "repeat_last_n"),
        *("presence_penalty", "frequency_penalty", "logit_bias", "seed", "max_tokens"),
        *("max_completion_tokens", "max_output_tokens", "min_tokens", "stop", "stop_token_ids"),
        *("bad_words", "allowed_token_ids", "ignore_eos", "logprobs", "top_logprobs"),
        *("truncate_prompt_tokens", "chat_template_kwargs", "enable_thinking", "thinking_budget"),
        *("add_generation_prompt", "continue_final_message", "structured_outputs"),
        *("include_reasoning", "parallel_tool_calls", "dimensions", "encoding_format"),
    }
)
_STANDARD_SAMPLING = (
    *("temperature", "top_p", "presence_penalty", "frequency_penalty", "seed", "max_tokens"),
)
_EXTRA_SAMPLING = (
    *("top_k", "min_p", "typical_p", "xtc_probability", "xtc_threshold", "repetition_penalty"),
    *("repeat_last_n", "min_tokens", "stop_token_ids", "bad_words", "allowed_token_ids"),
    *("ignore_eos",),
)
_EXTRA = frozenset(
    {
        *_EXTRA_SAMPLING,
        *("enable_thinking", "chat_template_kwargs", "add_generation_prompt"),
        *("continue_final_message", "thinking_budget", "truncate_prompt_tokens"),
        "structured_outputs",
    }
)
_DEFAULTS = Sampling()
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])

Body = dict[str, Any]


class UpstreamGenerate(Generate, kw_only=True, frozen=True, tag="generate", omit_defaults=True):
    """A request to generate that an upstream runs. The engine never gets it.

    Attributes
    ----------
    upstream
        Name of the upstream. The name of the model begins with it.
    parameters
        Parameters that the upstream gets as the client sent them.
    """

    upstream: str
    parameters: dict[str, Any] = msgspec.field(default_factory=dict)

    @property
    def upstream_model(self) -> str:
        """The model's name at the upstream."""
        return self.model.removeprefix(f"{self.upstream}{SEPARATOR}")

    @property
    def route(self) -> str:
        """Route of the upstream's API."""
        return "chat/completions" if isinstance(self.prompt, ChatPrompt) else "completions"


def take_parameters(
    settings: UpstreamSettings,
    request: RequestParameters,
    content: bytes | bytearray,
    *,
    is_openai: bool,
) -> Body:
    """Take those parameters out of a request that the upstream gets as they are.

    Parameters
    ----------
    settings
        Settings of the upstream.
    request
        The decoded request. Parameters that are taken are None in it after this.
    content
        Its body.
    is_openai
        Whether its parameters mean what they mean in OpenAI's API.
    """
    taken: Body = {}
    names = ((_PASSED if is_openai else frozenset()) | frozenset(settings.extra)) - _WRITTEN
    for name, raw in _MEMBERS.decode(content).items():
        if name in names and (value := msgspec.json.decode(raw)) is not None:
            taken[name] = value
            if name in request.__struct_fields__:
                setattr(request, name, None)
        elif name == "response_format":
            value = msgspec.json.decode(raw)
            if isinstance(value, dict) and "json_schema" in value:
                # As it is, since the upstream may read its name and `strict`.
                taken[name] = value
    return {**_taken_from_groups(request), **taken}


def _taken_from_groups(request: Any) -> Body:
    """Return parameters that other APIs than chat completions have below another name."""
    taken: Body = {}
    for group in (getattr(request, "reasoning", None), getattr(request, "output_config", None)):
        if group is not None and group.effort is not None:
            taken["reasoning_effort"], group.effort = group.effort, None
    text = getattr(request, "text", None)
    if text is not None and getattr(text, "verbosity", None) is not None:
        taken["verbosity"], text.verbosity = text.verbosity, None
    format = getattr(text, "format", None)
    if format is not None and getattr(format, "name", None):
        given = {name: getattr(format, name) for name in ("name", "schema", "description")}
        given["strict"] = format.strict
        schema = {name: value for name, value in given.items() if value is not None}
        taken["response_format"] = {"type": "json_schema", "json_schema": schema}
    return taken


def request_body(command: UpstreamGenerate, settings: UpstreamSettings) -> Body:
    """Return the body of the upstream's request, always for a stream."""
    prompt = command.prompt
    body: Body = {"model": command.upstream_model}
    if isinstance(prompt, ChatPrompt):
        body["messages"] = _messages(prompt)
        if prompt.tools:
            body["tools"] = prompt.tools
            body |= _tool_choice(command.tool_choice)
    elif isinstance(prompt, TextPrompt):
        body["prompt"] = prompt.text
    if command.n > 1:
        body["n"] = command.n
    body |= _written(command) | command.parameters
    body = {settings.rename.get(name, name): value for name, value in body.items()}
    body["stream"] = True
    if settings.stream_usage:
        body["stream_options"] = {"include_usage": True}
    return body


def check_request(
    command: UpstreamGenerate, settings: UpstreamSettings, own_names: Mapping[str, str]
) -> None:
    """Check that the upstream has all parameters of a request. `own_names` are its API's names.

    Raises
    ------
    InvalidRequest
        If it does not have one. `param` names it.
    """
    for name, is_asked in {
        "prompt_logprobs": command.prompt_logprobs is not None,
        "return_token_ids": command.token_ids,
    }.items():
        if is_asked:
            raise not_at_upstream(command.upstream, name)
    format = command.output_format
    for name in _written(command):
        if name in _EXTRA and name not in settings.extra:
            own = own_names.get(name, name)
            if name == "structured_outputs" and format is not None and format.param:
                own = format.param
            raise not_at_upstream(command.upstream, own, listed=name)


def not_at_upstream(upstream: str, param: str, listed: str | None = None) -> InvalidRequest:
    """Return the error for a parameter that an upstream does not have.

    Parameters
    ----------
    upstream
        Name of the upstream.
    param
        The parameter, as the client named it.
    listed
        Name under which the upstream's `extra` allows it; None if nothing does.
    """
    may = (
        f" If it does, its administrator can add {listed!r} to the 'extra' of this upstream in "
        "MlxNotebookApp.upstreams."
        if listed
        else ""
    )
    return InvalidRequest(
        f"{param!r} is for models on this machine. The upstream {upstream!r} does not have it: "
        f"leave it out.{may}",
        param=param,
        code="unsupported_parameter",
    )


def unsupported_settings(sampling: Collection[str], settings: UpstreamSettings) -> list[str]:
    """Return the sampling parameters among these names that an upstream does not have."""
    return [name for name in sampling if name in _EXTRA and name not in settings.extra]


def _written(command: UpstreamGenerate) -> Body:
    chat = isinstance(command.prompt, ChatPrompt)
    return dict(_sampling(command.sampling, chat=chat)) | dict(_options(command))


def _sampling(sampling: Sampling, *, chat: bool) -> Iterator[tuple[str, Any]]:
    for name in (*_STANDARD_SAMPLING, *_EXTRA_SAMPLING):
        if (value := getattr(sampling, name)) != getattr(_DEFAULTS, name):
            yield name, value
    if sampling.stop:
        yield "stop", sampling.stop
    if sampling.logit_bias:
        yield "logit_bias", {str(token): bias for token, bias in sampling.logit_bias.items()}
    if sampling.logprobs is not None:
        if chat:
            yield "logprobs", True
            if sampling.logprobs:
                yield "top_logprobs", sampling.logprobs
        else:
            yield "logprobs", sampling.logprobs


def _options(command: UpstreamGenerate) -> Iterator[tuple[str, Any]]:
    prompt, format = command.prompt, command.output_format
    if isinstance(prompt, ChatPrompt):
        kwargs = prompt.template_kwargs
        if set(kwargs) == {"enable_thinking"}:
            yield "enable_thinking", kwargs["enable_thinking"]
        elif kwargs:
            yield "chat_template_kwargs", kwargs
        if not prompt.add_generation_prompt:
            yield "add_generation_prompt", False
        if prompt.continues:
            yield "continue_final_message", True
    if command.reasoning_budget is not None:
        yield "thinking_budget", command.reasoning_budget
    if command.truncate_prompt is not None:
        yield "truncate_prompt_tokens", command.truncate_prompt
    if format is not None:
        yield _output_format(format.kind, format.value)


def _output_format(kind: str, value: Any) -> tuple[str, Any]:
    match kind:
        case "json_object":
            return "response_format", {"type": "json_object"}
        case "json_schema":
            schema = {"name": "answer", "schema": value}
            return "response_format", {"type": "json_schema", "json_schema": schema}
    # vLLM's parameter.
    return "structured_outputs", {kind: value}


def _tool_choice(choice: ToolChoice) -> Iterator[tuple[str, Any]]:
    names = choice.names
    if names is None:
        if choice.mode != "auto":
            yield "tool_choice", choice.mode
    elif len(names) == 1 and choice.mode == "required":
        yield "tool_choice", _named(names[0])
        if choice.parallel:
            yield "parallel_tool_calls", True
        return
    else:
        allowed = {"mode": choice.mode, "tools": [_named(name) for name in names]}
        yield "tool_choice", {"type": "allowed_tools", "allowed_tools": allowed}
    if not choice.parallel:
        yield "parallel_tool_calls", False


def _named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def _messages(prompt: ChatPrompt) -> list[dict[str, Any]]:
    images = iter(prompt.images)
    return [_message(message, images) for message in prompt.messages]


def _message(message: dict[str, Any], images: Iterator[EncodedImage]) -> dict[str, Any]:
    content = message.get("content")
    if isinstance(content, list):
        content = [
            _image(next(images))
            if part["type"] == "image"
            else {"type": "text", "text": part["text"]}
            for part in content
        ]
    written: dict[str, Any] = {"role": message["role"], "content": content}
    for name in ("tool_call_id", *(("name",) if message["role"] != "tool" else ())):
        if message.get(name):
            written[name] = message[name]
    if calls := message.get("tool_calls"):
        written["tool_calls"] = [_call(call) for call in calls]
        written["content"] = content or None
    return written


def _call(call: dict[str, Any]) -> dict[str, Any]:
    function = call["function"]
    arguments = function["arguments"]
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    return {
        "id": call["id"],
        "type": "function",
        "function": {"name": function["name"], "arguments": arguments},
    }


def _image(image: EncodedImage) -> dict[str, Any]:
    kind = image.media_type if isinstance(image, CheckedImage) else "image/png"
    url = f"data:{kind};base64,{base64.b64encode(image.data).decode()}"
    detail = {} if image.detail == "auto" else {"detail": image.detail}
    return {"type": "image_url", "image_url": {"url": url, **detail}}


def has_reasoning(prompt: ChatPrompt) -> bool:
    """Whether messages have reasoning of earlier turns, which upstreams do not get."""
    return any(message.get("reasoning_content") for message in prompt.messages)
