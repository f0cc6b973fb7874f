"""A request for an upstream is the one that the client sent, in OpenAI's words."""

from typing import Any

import pytest

from mlx_notebook.protocol import ChatPrompt, OutputFormat, Sampling, TextPrompt, ToolChoice
from mlx_notebook.server.errors import InvalidRequest
from mlx_notebook.server.upstreams.upstream_request import (
    UpstreamGenerate,
    check_request,
    request_body,
)
from mlx_notebook.server.upstreams.upstream_settings import UpstreamSettings
from mlx_notebook.server.wire.content import CheckedImage

LAB = UpstreamSettings(url="http://lab.example/v1", stream_usage=False)
HELLO = ChatPrompt(messages=[{"role": "user", "content": "Hello"}])
TOOLS = [{"type": "function", "function": {"name": name}} for name in ("a", "b")]


def command(prompt: ChatPrompt | TextPrompt = HELLO, **options: Any) -> UpstreamGenerate:
    return UpstreamGenerate(
        id="1", model="lab:org/m:8b", path="", prompt=prompt, upstream="lab", **options
    )


def body(*given: Any, settings: UpstreamSettings = LAB, **options: Any) -> dict[str, Any]:
    """Return the parameters of a body beside the model and `stream`."""
    made = command(*given, **options)
    check_request(made, settings, {})
    written = request_body(made, settings)
    assert written.pop("model") == "org/m:8b"
    assert written.pop("stream") is True
    return written


def test_nothing_is_sent_that_was_not_asked_for() -> None:
    assert body() == {"messages": HELLO.messages}
    assert body(TextPrompt(text=[1, 2])) == {"prompt": [1, 2]}
    usage = UpstreamSettings(url=LAB.url)
    assert request_body(command(), usage)["stream_options"] == {"include_usage": True}


def test_sampling_has_openais_names() -> None:
    sampling = Sampling(
        temperature=0.0, max_tokens=5, stop=["x"], seed=3, logit_bias={7: -1.0}, logprobs=2
    )
    expected = {"temperature": 0.0, "max_tokens": 5, "stop": ["x"], "seed": 3}
    expected |= {"logit_bias": {"7": -1.0}}
    sent = body(sampling=sampling)
    assert sent == {"messages": HELLO.messages, **expected, "logprobs": True, "top_logprobs": 2}
    assert body(TextPrompt(text="a"), sampling=sampling) == {
        "prompt": "a",
        **expected,
        "logprobs": 2,
    }


def test_a_conversation_with_calls_and_images_is_whole() -> None:
    image = CheckedImage(
        data=b"png", where="", detail="low", media_type="image/png", width=1, height=1, digest=""
    )
    call = {"id": "c1", "type": "function", "function": {"name": "a", "arguments": {"é": 1}}}
    prompt = ChatPrompt(
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "Look"}, {"type": "image"}]},
            {"role": "assistant", "content": "", "tool_calls": [call], "reasoning_content": "Hm"},
            {"role": "tool", "tool_call_id": "c1", "name": "a", "content": "done"},
        ],
        images=[image],
        tools=TOOLS,
    )
    user, assistant, tool = body(prompt)["messages"]
    url = {"url": "data:image/png;base64,cG5n", "detail": "low"}
    assert user["content"] == [
        {"type": "text", "text": "Look"},
        {"type": "image_url", "image_url": url},
    ]
    assert assistant == {
        "role": "assistant",
        "content": None,
        "tool_calls": [{**call, "function": {"name": "a", "arguments": '{"é": 1}'}}],
    }
    assert tool == {"role": "tool", "tool_call_id": "c1", "content": "done"}


A = {"type": "function", "function": {"name": "a"}}


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        (ToolChoice(), {}),
        (ToolChoice(mode="none"), {"tool_choice": "none"}),
        (
            ToolChoice(mode="required", parallel=False),
            {"tool_choice": "required", "parallel_tool_calls": False},
        ),
        (ToolChoice(mode="required", names=["a"], parallel=False), {"tool_choice": A}),
        (
            ToolChoice(mode="auto", names=["a"]),
            {
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {"mode": "auto", "tools": [A]},
                }
            },
        ),
    ],
)
def test_a_tool_choice_is_sent_as_it_came(choice: ToolChoice, sent: dict[str, Any]) -> None:
    prompt = ChatPrompt(messages=HELLO.messages, tools=TOOLS)
    assert body(prompt, tool_choice=choice) == {
        "messages": HELLO.messages,
        "tools": TOOLS,
        **sent,
    }


@pytest.mark.parametrize(
    ("options", "name", "value"),
    [
        ({"sampling": Sampling(top_k=0)}, "top_k", 0),
        ({"sampling": Sampling(ignore_eos=True)}, "ignore_eos", True),
        ({"reasoning_budget": 0}, "thinking_budget", 0),
        ({"truncate_prompt": -1}, "truncate_prompt_tokens", -1),
        (
            {"output_format": OutputFormat(kind="regex", value="a+", param="guided_regex")},
            "structured_outputs",
            {"regex": "a+"},
        ),
        ({"prompt": {"template_kwargs": {"enable_thinking": False}}}, "enable_thinking", False),
        ({"prompt": {"template_kwargs": {"x": 1}}}, "chat_template_kwargs", {"x": 1}),
        ({"prompt": {"add_generation_prompt": False}}, "add_generation_prompt", False),
    ],
)
def test_what_only_some_servers_have_needs_extra(
    options: dict[str, Any], name: str, value: Any
) -> None:
    prompt = ChatPrompt(messages=HELLO.messages, **options.pop("prompt", {}))
    with pytest.raises(InvalidRequest, match="'lab' does not have it") as caught:
        body(prompt, **options)
    assert caught.value.param == ("guided_regex" if name == "structured_outputs" else name)
    allowed = UpstreamSettings(url=LAB.url, stream_usage=False, extra=[name])
    assert body(prompt, settings=allowed, **options)[name] == value
    renamed = UpstreamSettings(
        url=LAB.url, stream_usage=False, extra=[name], rename={name: "other"}
    )
    assert body(prompt, settings=renamed, **options)["other"] == value
