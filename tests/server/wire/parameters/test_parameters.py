"""Every parameter of the official SDKs is known; the ignored ones are listed."""

import typing
from typing import Any, NotRequired, Required, get_args, get_origin

import anthropic.types.beta as anthropic_beta
import msgspec
import openai.types as openai_types
import openai.types.chat as openai_chat
import openai.types.responses as openai_responses
import pytest
from anthropic.types import MessageCountTokensParams
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
from typing_extensions import is_typeddict

from mlx_notebook.server.errors import InvalidRequest
from mlx_notebook.server.wire.anthropic import messages_request
from mlx_notebook.server.wire.openai import (
    chat_messages,
    chat_request,
    embedding_types,
    text_completion,
)
from mlx_notebook.server.wire.parameters.unsupported_parameters import GENERATION
from mlx_notebook.server.wire.responses import responses_request
from tests.server.wire.smallest_requests import GENERATING, asked

CHAT = openai_chat.completion_create_params.CompletionCreateParamsNonStreaming
TEXT = openai_types.completion_create_params.CompletionCreateParamsNonStreaming
RESPONSE = openai_responses.response_create_params.ResponseCreateParamsNonStreaming
BETA = anthropic_beta.message_create_params.MessageCreateParamsNonStreaming
SDK: list[tuple[Any, type[msgspec.Struct]]] = [
    (CHAT, chat_request.ChatCompletionRequest),
    (TEXT, text_completion.CompletionRequest),
    (openai_types.EmbeddingCreateParams, embedding_types.EmbeddingRequest),
    (RESPONSE, responses_request.ResponsesRequest),
    (openai_responses.InputTokenCountParams, responses_request.ResponsesRequest),
    (MessageCreateParamsNonStreaming, messages_request.MessagesRequest),
    (BETA, messages_request.MessagesRequest),
    (MessageCountTokensParams, messages_request.CountTokensRequest),
    (anthropic_beta.MessageCountTokensParams, messages_request.CountTokensRequest),
]
IDS = [f"{params.__module__}.{params.__name__}" for params, _ in SDK]
# An endpoint may lack these: they change no answer.
HARMLESS = {
    *("betas", "billing_policy", "cache_control", "fallback_credit_token", "inference_geo"),
    *("max_tool_calls", "metadata", "model", "parallel_tool_calls", "prediction"),
    *("prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "safety_identifier"),
    *("service_tier", "store", "stream_options", "user", "user_profile_id", "workspace_id"),
}


def forms(hint: Any) -> list[Any]:
    """Return all types that a hint allows, without `Required`, `Optional` and the like."""
    if get_origin(hint) in (Required, NotRequired, typing.Annotated):
        return forms(get_args(hint)[0])
    if get_origin(hint) in (typing.Union, type(int | str)):
        return [form for part in get_args(hint) for form in forms(part)]
    return [] if hint is type(None) else [hint]


def parameters_of(params: Any) -> dict[str, list[Any]]:
    hints = typing.get_type_hints(params, include_extras=True)
    return {name: forms(hint) for name, hint in hints.items()}


@pytest.mark.parametrize(("params", "kind"), SDK, ids=IDS)
def test_every_parameter_of_the_sdk_is_a_field(params: Any, kind: type[msgspec.Struct]) -> None:
    """A new parameter of the SDK fails here: use it, refuse it, or add it to `unused`."""
    assert set(parameters_of(params)) <= set(kind.__struct_encode_fields__)


def enumerated() -> list[Any]:
    return [
        pytest.param(kind, name, id=f"{kind.__name__}.{name}")
        for params, kind in SDK
        for name, types in parameters_of(params).items()
        if types and all(get_origin(each) is typing.Literal for each in types)
        if isinstance(get_args(types[0])[0], str)
    ]


@pytest.mark.parametrize(("kind", "name"), enumerated())
def test_an_enumerated_parameter_is_checked(kind: type[msgspec.Struct], name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        asked(kind, **{name: "banana"})
    assert caught.value.param == name


@pytest.mark.parametrize(("params", "kind"), SDK, ids=IDS)
def test_every_parameter_of_a_nested_object_is_a_field(
    params: Any, kind: type[msgspec.Struct]
) -> None:
    """Only for options, not for messages and tools."""
    ours = typing.get_type_hints(kind)
    for name, types in parameters_of(params).items():
        theirs = [each for each in types if is_typeddict(each)]
        structs = [
            each
            for each in forms(ours[name if name in ours else f"{name}_"])
            if isinstance(each, type) and issubclass(each, msgspec.Struct)
        ]
        if len(theirs) != 1 or len(structs) != 1:
            continue
        known = {*structs[0].__struct_encode_fields__, structs[0].__struct_config__.tag_field}
        assert set(parameters_of(theirs[0])) <= known, name


@pytest.mark.parametrize(
    ("params", "kind"),
    [
        (openai_chat.ChatCompletionSystemMessageParam, chat_messages.SystemMessage),
        (openai_chat.ChatCompletionDeveloperMessageParam, chat_messages.DeveloperMessage),
        (openai_chat.ChatCompletionUserMessageParam, chat_messages.UserMessage),
        (openai_chat.ChatCompletionAssistantMessageParam, chat_messages.AssistantMessage),
        (openai_chat.ChatCompletionToolMessageParam, chat_messages.ToolMessage),
    ],
)
def test_every_field_of_a_message_of_the_sdk_is_a_field(
    params: Any, kind: type[msgspec.Struct]
) -> None:
    assert set(parameters_of(params)) - {"role"} <= set(kind.__struct_encode_fields__)


@pytest.mark.parametrize("kind", GENERATING)
def test_parameters_of_other_endpoints_are_refused_or_harmless(kind: type[msgspec.Struct]) -> None:
    everywhere = {name for each in GENERATING for name in each.__struct_encode_fields__}
    assert everywhere <= {*kind.__struct_encode_fields__, *GENERATION, *HARMLESS}


def test_unknown_and_unused_parameters_are_listed() -> None:
    names = asked(
        chat_request.ChatCompletionRequest,
        user="ann",
        metadata={"a": "b"},
        service_tier="flex",
        prompt_cache_key="k",
        cache_prompt=True,
        stream=True,
        stream_options={"include_usage": True, "include_obfuscation": True, "more": 1},
        response_format={"type": "json_schema", "json_schema": {"schema": {}, "extra": 1}},
        verbosity="medium",
    )
    assert names == [
        *("user", "metadata", "service_tier", "prompt_cache_key", "cache_prompt"),
        *("stream_options.include_obfuscation", "stream_options.more"),
        "response_format.json_schema.extra",
    ]


def test_unknown_fields_of_messages_and_their_parts_are_listed() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:", "zoom": 2}, "caption": "a cat"}
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}", "why": 1}}
    names = asked(
        chat_request.ChatCompletionRequest,
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "Look."}, image], "mood": "calm"},
            # As it came in an answer.
            {"role": "assistant", "content": None, "annotations": [], "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "a", "content": "1", "cached": False, "extra": None},
        ],
    )
    assert names == [
        "messages[0].content[1].image_url.zoom",
        "messages[0].content[1].caption",
        "messages[0].mood",
        "messages[1].tool_calls[0].function.why",
    ]


def test_used_parameters_are_not_listed() -> None:
    everything = {
        "model": "m",
        "temperature": 0,
        "seed": 1,
        "stop": ["x"],
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "stream": True,
        "stream_options": {"include_usage": True, "include_obfuscation": False},
        "chat_template_kwargs": {"anything": 1},
        "response_format": {"type": "json_object"},
        "store": True,
        "metadata": {"a": "b"},
    }
    assert asked(chat_request.ChatCompletionRequest, **everything) == []


def test_names_in_a_header_are_short_plain_and_few() -> None:
    wild = {"a,b\r\nc": 1, "é" * 100: 2, **{f"x{number}": 3 for number in range(100)}}
    names = asked(chat_request.ChatCompletionRequest, **wild)
    assert len(names) == 32
    assert names[0] == "a\\x2cb\\x0d\\x0ac"
    assert all(name.isascii() and name.isprintable() and "," not in name for name in names)
    assert all(len(name) <= 4 * 64 for name in names)
    with pytest.raises(InvalidRequest):
        asked(chat_request.ChatCompletionRequest, **wild, mirostat=2)


def test_counting_tokens_accepts_the_parameters_of_a_message() -> None:
    names = asked(messages_request.CountTokensRequest, max_tokens=5, stream=True, metadata={})
    assert names == ["max_tokens", "stream", "metadata"]
