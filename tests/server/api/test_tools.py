"""Tool calls and structured answers over HTTP: enforced even on a model that knows nothing."""

import concurrent.futures
import json
from collections.abc import Iterator
from typing import Any, Literal

import openai
import pytest
from pydantic import BaseModel, Field

from tests.server.running import HELLO, RunningServer

WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "maxLength": 8},
                "days": {"type": "integer", "minimum": 0, "maximum": 9},
            },
            "required": ["city", "days"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}
CLOCK: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "clock",
        "parameters": {
            "type": "object",
            "properties": {"zone": {"enum": ["utc", "cet"]}},
            "required": ["zone"],
        },
    },
}


class Day(BaseModel):
    """A day, small enough for any model."""

    name: str = Field(max_length=6)
    number: int = Field(ge=1, le=31)
    kind: Literal["work", "rest"]


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.openai_url, api_key=server.token) as made:
        yield made


def ask(client: openai.OpenAI, **options: Any) -> Any:
    """One whole answer, or the chunks of a stream."""
    asked = {"model": "tiny-chat", "messages": HELLO, "max_tokens": 400, "temperature": 0}
    return client.chat.completions.create(**{**asked, **options})


def check(name: str, arguments: str) -> None:
    """A call is what its function declares."""
    given = json.loads(arguments)
    if name == "weather":
        assert set(given) == {"city", "days"}
        assert len(given["city"]) <= 8
        assert 0 <= given["days"] <= 9
    else:
        assert name == "clock"
        assert given["zone"] in ("utc", "cet")


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("required", {"weather", "clock"}),
        ({"type": "function", "function": {"name": "clock"}}, {"clock"}),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "required",
                    "tools": [{"type": "function", "function": {"name": "weather"}}],
                },
            },
            {"weather"},
        ),
    ],
    ids=["required", "named", "allowed"],
)
def test_a_demanded_call_is_made_and_fits_its_schema(
    client: openai.OpenAI, choice: Any, names: set[str]
) -> None:
    answer = ask(client, tools=[WEATHER, CLOCK], tool_choice=choice, parallel_tool_calls=False)
    [made] = answer.choices
    assert made.finish_reason == "tool_calls"
    assert made.message.content is None
    [call] = made.message.tool_calls
    assert call.type == "function"
    assert call.id.startswith("call_")
    assert call.function.name in names
    check(call.function.name, call.function.arguments)


def test_a_streamed_call_names_itself_first_and_adds_up_to_json(client: openai.OpenAI) -> None:
    chunks = ask(
        client,
        tools=[WEATHER, CLOCK],
        tool_choice="required",
        parallel_tool_calls=False,
        temperature=1,
        seed=3,
        stream=True,
    )
    deltas, contents, reasons = [], [], []
    for chunk in chunks:
        choice = chunk.choices[0]
        deltas += choice.delta.tool_calls or []
        contents.append(choice.delta.content or "")
        reasons.append(choice.finish_reason)
    first, *rest = deltas
    assert first.id
    assert first.type == "function"
    assert first.function.name
    assert len(rest) > 1
    assert all(delta.index == 0 and delta.id is None for delta in rest)
    check(first.function.name, "".join(delta.function.arguments or "" for delta in deltas))
    assert "".join(contents) == ""
    assert reasons[-1] == "tool_calls"


def test_no_call_is_made_where_none_is_allowed(client: openai.OpenAI) -> None:
    answer = ask(client, tools=[WEATHER], tool_choice="none", max_tokens=20)
    assert not answer.choices[0].message.tool_calls


def test_no_call_is_made_even_where_the_model_wants_nothing_else(
    client: openai.OpenAI, server: RunningServer
) -> None:
    body = {"content": "<tool_call>", "model": "tiny-chat"}
    [mark] = server.client.post("tokenize", json=body).json()["tokens"]
    options = {"tools": [WEATHER], "logit_bias": {str(mark): 100}, "max_tokens": 60}
    assert ask(client, **options).choices[0].message.tool_calls
    choice = ask(client, **options, tool_choice="none").choices[0]
    assert not choice.message.tool_calls
    assert choice.message.content
    assert "tool_call>" not in choice.message.content
    trace = server.client.get("mlx/traces").json()["data"][0]["id"]
    assert "weather" in server.client.get(f"mlx/traces/{trace}").json()["prompt"]


def test_forbidding_calls_now_and_then_costs_no_cached_prefix(client: openai.OpenAI) -> None:
    messages = [{"role": "user", "content": f"Say {'much ' * 40} of the weather."}]
    uncached = []
    for choice in ("auto", "none", "auto", "none"):
        usage = ask(
            client, messages=messages, tools=[WEATHER, CLOCK], tool_choice=choice, max_tokens=1
        ).usage
        uncached.append(usage.prompt_tokens - usage.prompt_tokens_details.cached_tokens)
    assert all(left <= 8 for left in uncached[1:]), uncached


def test_a_call_cut_short_ends_by_its_length_and_may_be_told_of(client: openai.OpenAI) -> None:
    answer = ask(client, tools=[WEATHER], tool_choice="required", max_tokens=8)
    assert answer.choices[0].finish_reason == "length"
    asked = answer.choices[0].message.to_dict()
    (call,) = asked["tool_calls"]
    with pytest.raises(ValueError, match="line 1"):
        json.loads(call["function"]["arguments"])
    result = {"role": "tool", "tool_call_id": call["id"], "content": "it was cut off"}
    history = [{"role": "user", "content": "The weather?"}, asked, result]
    assert ask(client, messages=history, tools=[WEATHER]).choices[0].message.content


def test_the_official_client_parses_an_answer_into_its_model(client: openai.OpenAI) -> None:
    answer = client.chat.completions.parse(
        model="tiny-chat",
        messages=HELLO,  # type: ignore[arg-type]
        max_tokens=400,
        temperature=1,
        seed=1,
        response_format=Day,
    )
    assert isinstance(answer.choices[0].message.parsed, Day)


def test_a_demanded_shape_is_kept_in_every_row_and_in_a_stream(client: openai.OpenAI) -> None:
    options = {"temperature": 1, "extra_body": {"structured_outputs": {"regex": "[a-f]{3}-[0-9]"}}}
    for choice in ask(client, n=3, **options).choices:
        assert set(choice.message.content[:3]) <= set("abcdef")
        assert choice.message.content[3] == "-"
        assert choice.finish_reason == "stop"
    chunks = ask(client, stream=True, **options)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert len(text) == 5


def test_a_choice_and_a_grammar_are_enforced(client: openai.OpenAI) -> None:
    answer = ask(client, extra_body={"guided_choice": ["left", "right"]})
    assert answer.choices[0].message.content in ("left", "right")
    grammar = {"structured_outputs": {"grammar": 'start: "go " ("up" | "down")'}}
    assert ask(client, extra_body=grammar).choices[0].message.content in ("go up", "go down")


def test_a_shape_that_cannot_be_enforced_is_named(client: openai.OpenAI) -> None:
    schema = {"type": "string", "not": {"pattern": "x"}}
    format = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    with pytest.raises(openai.BadRequestError, match="not") as caught:
        ask(client, response_format=format)
    assert caught.value.param == "response_format"


def test_thinking_comes_apart_from_the_answer_and_within_its_budget(client: openai.OpenAI) -> None:
    options = {
        "reasoning_effort": "high",
        "extra_body": {"thinking_budget": 8, "ignore_eos": True},
        "max_tokens": 40,
    }
    answer = ask(client, **options)
    message = answer.choices[0].message
    assert message.reasoning_content == message.reasoning
    assert "think>" not in (message.content or "")
    assert answer.usage.completion_tokens_details.reasoning_tokens <= 12
    deltas = [chunk.choices[0].delta for chunk in ask(client, stream=True, **options)]
    whole = "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas)
    assert whole == (message.reasoning or "")
    assert whole == "".join(getattr(delta, "reasoning", None) or "" for delta in deltas)


def test_log_probabilities_come_with_each_token_streamed_too(client: openai.OpenAI) -> None:
    options = {"logprobs": True, "top_logprobs": 2, "max_tokens": 6}
    answer = ask(client, extra_body={"ignore_eos": True}, **options)
    tokens = answer.choices[0].logprobs.content
    assert len(tokens) == 6
    for token in tokens:
        assert token.logprob <= 0
        assert bytes(token.bytes).decode(errors="replace") == token.token
        assert len(token.top_logprobs) == 2
        assert token.top_logprobs[0].logprob >= token.top_logprobs[1].logprob
    streamed = [
        token
        for chunk in ask(client, stream=True, extra_body={"ignore_eos": True}, **options)
        for token in (chunk.choices[0].logprobs.content if chunk.choices[0].logprobs else [])
    ]
    assert [token.token for token in streamed] == [token.token for token in tokens]


def test_log_probabilities_are_those_of_the_content_alone(client: openai.OpenAI) -> None:
    options = {"logprobs": True, "max_tokens": 30}
    answer = ask(
        client, reasoning_effort="high", extra_body={"thinking_budget": 4}, **options
    ).choices[0]
    tokens = [token.token for token in answer.logprobs.content]
    assert "".join(tokens).strip() == answer.message.content.strip()
    options["max_tokens"] = 200
    called = ask(client, tools=[CLOCK], tool_choice="required", **options).choices[0]
    assert called.message.tool_calls
    assert called.logprobs.content == []


@pytest.mark.parametrize("effort", ["none", "high"])
def test_an_agents_turns_go_back_and_are_found_in_the_cache(
    client: openai.OpenAI, effort: str
) -> None:
    question = f"How is the weather in Oslo and Bergen? Think: {effort}."
    messages: list[Any] = [{"role": "user", "content": question}]
    cached = []
    for _ in range(3):
        answer = ask(
            client,
            messages=messages,
            tools=[WEATHER],
            tool_choice="required",
            reasoning_effort=effort,
            extra_body={"thinking_budget": 8},
        )
        message = answer.choices[0].message
        cached.append(answer.usage.prompt_tokens_details.cached_tokens)
        messages.append(message.model_dump(exclude_none=True))
        for call in reversed(message.tool_calls):
            messages.append({"role": "tool", "tool_call_id": call.id, "content": "sunny"})
    assert cached[0] < cached[1] < cached[2]
    with pytest.raises(openai.BadRequestError, match="'stray'"):
        ask(client, messages=[*messages, {"role": "tool", "tool_call_id": "stray", "content": ""}])


@pytest.mark.parametrize("most", [1, 3, 6])
def test_a_call_that_is_cut_before_its_name_leaves_no_markup(
    client: openai.OpenAI, most: int
) -> None:
    answer = ask(client, tools=[CLOCK], tool_choice="required", max_tokens=most)
    (choice,) = answer.choices
    assert choice.finish_reason == "length"
    assert not choice.message.content


def test_a_function_that_is_named_is_called_once(client: openai.OpenAI) -> None:
    now: Any = {"type": "function", "function": {"name": "now"}}
    for seed in range(4):
        answer = ask(client, tools=[now], tool_choice=now, temperature=1.5, seed=seed)
        assert [call.function.name for call in answer.choices[0].message.tool_calls] == ["now"]


IMPOSSIBLE = [
    ({"response_format": {"type": "json_schema", "json_schema": {"schema": {"$ref": "#"}}}}, "no"),
    ({"structured_outputs": {"regex": r"[^\s\S]"}}, "no text fulfils it"),
    ({"structured_outputs": {"regex": "a{500000}"}}, "repeats"),
    ({"structured_outputs": {"json": {"type": "integer", "multipleOf": 99_999_989}}}, "too long"),
]


@pytest.mark.parametrize(("asked", "reason"), IMPOSSIBLE)
def test_a_format_that_cannot_be_enforced_is_a_bad_request(
    server: RunningServer, asked: dict[str, Any], reason: str
) -> None:
    body = {"model": "tiny-chat", "messages": HELLO, **asked}
    answer = server.client.post("v1/chat/completions", json=body, timeout=120)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert reason in error["message"]
    ((name, form),) = asked.items()
    assert error["param"] == (name if "json_schema" in form else f"{name}.{next(iter(form))}")


def test_a_format_that_fails_in_mid_answer_ends_with_an_error(server: RunningServer) -> None:
    """It would have to hold more possibilities open than may be, after 300 letters."""
    rows = "".join(f'\nr{i}: "X{i}" /[a-z]{{{i % 9 + 1}}}/' for i in range(6000))
    choices = " | ".join(f"r{i}" for i in range(6000))
    grammar = f"start: /[a-z]{{300}}/ ({choices}){rows}"
    body: dict[str, Any] = {"model": "tiny-chat", "messages": HELLO, "max_tokens": 400}
    body["structured_outputs"] = {"grammar": grammar}
    answer = server.client.post("v1/chat/completions", json=body, timeout=120)
    assert answer.status_code == 500, answer.text
    error = answer.json()["error"]
    assert error["code"] == "constraint_failed"
    assert "The grammar could not be enforced to the end" in error["message"]
    body["stream"] = True
    lines = server.client.post("v1/chat/completions", json=body, timeout=120).text.splitlines()
    chunks = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    assert chunks[-1]["error"]["code"] == "constraint_failed"
    choices_seen = [choice for chunk in chunks[:-1] for choice in chunk["choices"]]
    assert len("".join(choice["delta"].get("content") or "" for choice in choices_seen)) == 300
    assert all(choice["finish_reason"] is None for choice in choices_seen)


def test_a_format_that_takes_long_to_compile_keeps_nobody_else_waiting(
    server: RunningServer,
) -> None:
    def ask_for(schema: dict[str, Any]) -> int:
        body = {"model": "tiny-chat", "messages": HELLO, "structured_outputs": {"json": schema}}
        return server.client.post("v1/chat/completions", json=body, timeout=120).status_code

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        primes = (99_999_989, 99_999_971, 99_999_959)
        slow = [pool.submit(ask_for, {"multipleOf": prime}) for prime in primes]
        assert server.works()
        # The trials run for seconds of processor time each: the chat went by.
        assert not any(answer.done() for answer in slow)
        assert [answer.result() for answer in slow] == [400, 400, 400]
