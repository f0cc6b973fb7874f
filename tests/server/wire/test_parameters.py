"""Every parameter that an official SDK sends is known here; what is not used is told."""

import json
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

from mlx_notebook.protocol import OutputFormat, Sampling
from mlx_notebook.server.errors import InvalidRequest
from mlx_notebook.server.wire.anthropic import messages_request
from mlx_notebook.server.wire.decode import decode
from mlx_notebook.server.wire.openai import (
    chat_messages,
    chat_request,
    embedding_types,
    responses_request,
    text_completion,
)
from mlx_notebook.server.wire.parameters import ignored_parameters
from mlx_notebook.server.wire.unsupported_parameters import EMBEDDING, GENERATION

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
GENERATING = (
    chat_request.ChatCompletionRequest,
    text_completion.CompletionRequest,
    responses_request.ResponsesRequest,
    messages_request.MessagesRequest,
)
# Those that an endpoint may lack without harm: they change no answer.
HARMLESS = {
    *("betas", "billing_policy", "cache_control", "fallback_credit_token", "inference_geo"),
    *("max_tool_calls", "metadata", "model", "parallel_tool_calls", "prediction"),
    *("prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "safety_identifier"),
    *("service_tier", "store", "stream_options", "user", "user_profile_id", "workspace_id"),
}
DECODERS = {
    chat_request.ChatCompletionRequest: (
        chat_request.DECODER,
        {"messages": [{"role": "user", "content": "Hi"}]},
    ),
    text_completion.CompletionRequest: (text_completion.DECODER, {"prompt": "Hi"}),
    embedding_types.EmbeddingRequest: (embedding_types.DECODER, {"input": "Hi"}),
    responses_request.ResponsesRequest: (responses_request.DECODER, {"input": "Hi"}),
    messages_request.MessagesRequest: (
        messages_request.DECODER,
        {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9},
    ),
    messages_request.CountTokensRequest: (
        messages_request.COUNT_DECODER,
        {"messages": [{"role": "user", "content": "Hi"}]},
    ),
}


def asked(kind: type[msgspec.Struct], **parameters: Any) -> list[str]:
    """What of a request is ignored."""
    decoder, least = DECODERS[kind]
    body = json.dumps({**least, **parameters}).encode()
    return ignored_parameters(body, decode(decoder, body))


def forms(hint: Any) -> list[Any]:
    """All types that a hint allows, without `Required`, `Optional` and the like."""
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
    """A newer SDK's new parameter fails here: use it, refuse it, or name it in `unused`."""
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
    """Only for options, not for what messages and tools hold."""
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
def test_what_another_endpoint_has_is_refused_or_harmless(kind: type[msgspec.Struct]) -> None:
    everywhere = {name for each in GENERATING for name in each.__struct_encode_fields__}
    assert everywhere <= {*kind.__struct_encode_fields__, *GENERATION, *HARMLESS}


@pytest.mark.parametrize("kind", GENERATING)
def test_what_would_change_an_answer_is_refused_with_what_to_do(
    kind: type[msgspec.Struct],
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        asked(kind, n_predict=5)
    assert caught.value.param == "n_predict"
    assert caught.value.code == "unsupported_parameter"
    assert "use 'max_tokens'" in caught.value.message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mirostat", 2),
        ("use_beam_search", True),
        ("skip_special_tokens", False),
        ("chat_template", "{{ messages }}"),
        ("documents", [{"text": "x"}]),
        ("dry_multiplier", 0.8),
        ("samplers", ["top_k"]),
        ("transforms", ["middle-out"]),
        ("options", {"temperature": 0}),
        ("think", False),
        ("reasoning_format", "none"),
        ("stop_sequences", ["x"]),
        ("truncation", "auto"),
    ],
)
def test_parameters_of_other_servers_are_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        asked(chat_request.ChatCompletionRequest, **{name: value})
    assert caught.value.param == name


@pytest.mark.parametrize(
    "neutral",
    [
        {"mirostat": 0},
        {"use_beam_search": False},
        {"skip_special_tokens": True},
        {"top_n_sigma": -1},
        {"length_penalty": 1.0},
        {"truncation": "disabled"},
        {"options": {}},
        {"samplers": None},
    ],
)
def test_values_that_ask_for_nothing_are_passed_over(neutral: dict[str, Any]) -> None:
    assert asked(chat_request.ChatCompletionRequest, **neutral) == [*neutral]


def test_a_zero_is_not_taken_for_false() -> None:
    with pytest.raises(InvalidRequest):
        asked(chat_request.ChatCompletionRequest, use_beam_search=1)


def test_what_is_unknown_or_of_no_consequence_is_listed() -> None:
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


def test_what_is_used_is_not_listed() -> None:
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


def test_forms_of_llama_cpp_are_used() -> None:
    def sampled(**parameters: Any) -> Sampling:
        body = {"messages": [{"role": "user", "content": "Hi"}], **parameters}
        return decode(chat_request.DECODER, json.dumps(body).encode()).sampling()

    assert sampled(seed=-1).seed is None
    assert sampled(seed=-2).seed == -2
    assert sampled(logit_bias=[[5, 1.5], [6, False]]).logit_bias == {5: 1.5, 6: -100}
    assert sampled(logit_bias={"5": 1}).logit_bias == {5: 1}
    for wrong in ([[5, True]], [[5]], [["word", 1]], [[5, 200]]):
        with pytest.raises(InvalidRequest) as caught:
            sampled(logit_bias=wrong)
        assert (caught.value.param or "").startswith("logit_bias")


def test_a_schema_may_stand_beside_the_type() -> None:
    def wanted(**given: Any) -> OutputFormat | None:
        body = {"messages": [{"role": "user", "content": "Hi"}]}
        format = {"response_format": {"type": "json_schema", **given}}
        content = json.dumps(body | format).encode()
        request = decode(chat_request.DECODER, content)
        assert ignored_parameters(content, request) == []
        return request.output_format()

    schema = {"type": "integer"}
    expected = OutputFormat(kind="json_schema", value=schema, param="response_format")
    assert wanted(json_schema={"name": "n", "schema": schema}) == expected
    assert wanted(schema=schema, name="n", strict=True) == expected
    for wrong, param in (
        ({}, "response_format.json_schema"),
        ({"schema": schema, "json_schema": {"schema": schema}}, "response_format.schema"),
    ):
        with pytest.raises(InvalidRequest) as caught:
            wanted(**wrong)
        assert caught.value.param == param


def test_names_in_a_header_are_short_plain_and_few() -> None:
    wild = {"a,b\r\nc": 1, "é" * 100: 2, **{f"x{number}": 3 for number in range(100)}}
    names = asked(chat_request.ChatCompletionRequest, **wild)
    assert len(names) == 32
    assert names[0] == "a\\x2cb\\x0d\\x0ac"
    assert all(name.isascii() and name.isprintable() and "," not in name for name in names)
    assert all(len(name) <= 4 * 64 for name in names)
    with pytest.raises(InvalidRequest):
        asked(chat_request.ChatCompletionRequest, **wild, mirostat=2)


@pytest.mark.parametrize(
    ("parameters", "param"),
    [
        ({"input_type": "query"}, "input_type"),
        ({"normalize": False}, "normalize"),
        ({"output_dimension": 8}, "output_dimension"),
        ({"pooling": "mean"}, "pooling"),
    ],
)
def test_what_would_change_a_vector_is_refused(parameters: dict[str, Any], param: str) -> None:
    assert param in EMBEDDING
    with pytest.raises(InvalidRequest) as caught:
        asked(embedding_types.EmbeddingRequest, **parameters)
    assert caught.value.param == param


def test_a_count_of_tokens_takes_what_the_message_takes() -> None:
    names = asked(messages_request.CountTokensRequest, max_tokens=5, stream=True, metadata={})
    assert names == ["max_tokens", "stream", "metadata"]
