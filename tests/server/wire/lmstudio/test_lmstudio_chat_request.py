from typing import Any

import msgspec
import pytest

from mlx_notebook.server.errors import InvalidRequest
from mlx_notebook.server.wire.body import RequestBody
from mlx_notebook.server.wire.decode import decode
from mlx_notebook.server.wire.lmstudio.lmstudio_chat_request import (
    CHAT_DECODER,
    LmStudioChatRequest,
    named_as_here,
)
from mlx_notebook.server.wire.responses.responses_request import ResponsesRequest


def request(**parameters: Any) -> LmStudioChatRequest:
    body = RequestBody()
    body.take(msgspec.json.encode({"model": "m", "input": "Hi", **parameters}))
    return decode(CHAT_DECODER, body)


def response(**parameters: Any) -> ResponsesRequest:
    return request(**parameters).for_response()


def test_a_text_and_a_system_prompt_are_two_messages() -> None:
    plain = response()
    assert plain.input == [{"type": "message", "role": "user", "content": "Hi"}]
    items: Any = response(system_prompt="Be brief.").input
    assert [item["role"] for item in items] == ["system", "user"]
    assert items[0]["content"] == "Be brief."


@pytest.mark.parametrize("kind", ["text", "message"])
def test_texts_and_images_are_parts_of_one_message(kind: str) -> None:
    image = "data:image/png;base64,AAAA"
    given = [{"type": kind, "content": "What?"}, {"type": "image", "data_url": image}]
    (item,) = response(input=given).input or []
    assert isinstance(item, dict)
    assert item["content"] == [
        {"type": "input_text", "text": "What?"},
        {"type": "input_image", "image_url": image},
    ]


def test_sampling_parameters_keep_their_meaning() -> None:
    given = {"temperature": 0.5, "top_p": 0.9, "top_k": 3, "min_p": 0.1, "repeat_penalty": 1.2}
    sampling = response(**given, max_output_tokens=7).sampling()
    assert (sampling.temperature, sampling.top_p, sampling.top_k) == (0.5, 0.9, 3)
    assert (sampling.min_p, sampling.repetition_penalty, sampling.max_tokens) == (0.1, 1.2, 7)


@pytest.mark.parametrize(
    ("setting", "variables"),
    [
        (None, {}),
        ("off", {"enable_thinking": False}),
        ("on", {"enable_thinking": True}),
        ("low", {"enable_thinking": True, "reasoning_effort": "low"}),
    ],
)
def test_reasoning_becomes_variables_of_the_template(
    setting: str | None, variables: dict[str, Any]
) -> None:
    assert response(reasoning=setting).template_kwargs() == variables


def test_integrations_are_mcp_servers_that_need_no_approval() -> None:
    remote = {
        "type": "ephemeral_mcp",
        "server_label": "hub",
        "server_url": "https://hub.test/mcp",
        "allowed_tools": ["search"],
        "headers": {"X-Key": "1"},
    }
    plugin = {"type": "plugin", "id": "mcp/files", "allowed_tools": []}
    tools = response(integrations=["mcp/web", plugin, remote]).tools or []
    assert [tool["server_label"] for tool in tools] == ["web", "files", "hub"]
    assert {tool["require_approval"] for tool in tools} == {"never"}
    assert ["allowed_tools" in tool for tool in tools] == [False, True, True]
    assert tools[1]["allowed_tools"] == []
    assert tools[2]["headers"] == {"X-Key": "1"}


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": [{"type": "image", "data_url": "https://a.test/b.png"}]}, "input[0].data_url"),
        ({"input": [{"type": "sound"}]}, "input[0]"),
        ({"model": ""}, "model"),
        ({"temperature": 3}, "temperature"),
        ({"reasoning": "much"}, "reasoning"),
        ({"integrations": ["danielsig/duckduckgo"]}, "integrations[0]"),
    ],
)
def test_what_is_wrong_is_named(parameters: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidRequest) as error:
        response(**parameters)
    assert (error.value.param or "").startswith(named)


@pytest.mark.parametrize(
    ("own", "here"),
    [
        ("input[1].content[2].image_url", "input[2].data_url"),
        ("input[0].content[0].text", "input[0].content"),
        ("input[1].content", "input"),
        ("input[1]", "input"),
        ("messages", "input"),
        ("tools[1].server_url", "integrations[1].server_url"),
        ("previous_response_id", "previous_response_id"),
        ("input[2].data_url", "input[2].data_url"),
    ],
)
def test_errors_have_the_names_of_this_api(own: str, here: str) -> None:
    error = named_as_here(InvalidRequest(f"{own!r} is not valid.", param=own))
    assert error.param == here
    if own != "messages":
        assert error.message == f"{here!r} is not valid."


def test_the_words_of_a_message_stay_as_they_are() -> None:
    error = named_as_here(InvalidRequest("The server gives no tools: send other 'tools'."))
    assert error.message == "The server gives no tools: send other 'integrations'."
