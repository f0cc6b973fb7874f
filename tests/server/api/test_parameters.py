"""Parameters of vLLM, llama.cpp and others: used on every endpoint, refused, or listed."""

import json
from typing import Any

import pytest

from tests.server.running import HELLO, RunningServer

IGNORED = "x-mlx-ignored-parameters"
# How each generating endpoint is asked for a short greedy answer.
ENDPOINTS: dict[str, dict[str, Any]] = {
    "v1/chat/completions": {"messages": HELLO, "max_tokens": 6, "temperature": 0},
    "v1/completions": {"prompt": "1, 2, 3, 4,", "max_tokens": 6, "temperature": 0},
    "v1/responses": {"input": "Hello!", "max_output_tokens": 6, "temperature": 0},
    "v1/messages": {"messages": HELLO, "max_tokens": 6, "temperature": 0},
}
everywhere = pytest.mark.parametrize("endpoint", ENDPOINTS)


@pytest.fixture(scope="module", autouse=True)
def default_model(server: RunningServer) -> None:
    """These requests name no model, and the server, which is shared, remembers the last one."""
    assert server.chat(model="tiny-chat").status_code == 200


def ask(server: RunningServer, endpoint: str, **parameters: Any) -> dict[str, Any]:
    body = {**ENDPOINTS[endpoint], **parameters}
    answer = server.client.post(endpoint, json=body)
    assert answer.status_code == 200, answer.text
    assert IGNORED not in answer.headers
    return dict(answer.json())


def text(answer: dict[str, Any]) -> str:
    if "choices" in answer:
        choice = answer["choices"][0]
        return str(choice.get("text") or choice["message"]["content"])
    parts = answer.get("content")
    if parts is None:
        parts = [part for item in answer["output"] for part in item.get("content", ())]
    return "".join(part.get("text", "") for part in parts)


def token_ids(answer: dict[str, Any]) -> tuple[list[int], list[int]]:
    """The prompt's and the answer's."""
    choice = answer.get("choices", [answer])[0]
    prompt = answer.get("prompt_token_ids") or choice["prompt_token_ids"]
    return prompt, choice["token_ids"]


def events(server: RunningServer, endpoint: str, **parameters: Any) -> list[dict[str, Any]]:
    body = {**ENDPOINTS[endpoint], "stream": True, **parameters}
    answer = server.client.post(endpoint, json=body)
    assert answer.status_code == 200, answer.text
    lines = [line for line in answer.text.splitlines() if line.startswith("data: {")]
    return [json.loads(line[6:]) for line in lines]


@everywhere
def test_what_is_ignored_is_told_in_a_header_and_in_the_trace(
    server: RunningServer, endpoint: str
) -> None:
    body = {**ENDPOINTS[endpoint], "cache_prompt": True, "nonesuch": {"a": 1}, "mirostat": 0}
    for streamed in (False, True):
        answer = server.client.post(endpoint, json={**body, "stream": streamed})
        assert answer.status_code == 200, answer.text
        assert answer.headers[IGNORED] == "cache_prompt, nonesuch, mirostat"
        trace = server.client.get(f"mlx/traces/{answer.headers['x-request-id']}").json()
        assert trace["ignored"] == ["cache_prompt", "nonesuch", "mirostat"]


@everywhere
def test_what_would_change_the_answer_is_refused_by_name(
    server: RunningServer, endpoint: str
) -> None:
    answer = server.client.post(endpoint, json={**ENDPOINTS[endpoint], "mirostat": 2})
    assert answer.status_code == 400
    assert "'mirostat' is not supported by this server: leave it out." in answer.text
    if endpoint != "v1/messages":
        assert answer.json()["error"]["param"] == "mirostat"


@everywhere
def test_tokens_are_told_and_end_answers(server: RunningServer, endpoint: str) -> None:
    whole = ask(server, endpoint, return_token_ids=True, ignore_eos=True)
    prompt, made = token_ids(whole)
    assert len(prompt) > 1
    assert len(made) == 6
    stop = next(token for token in made[1:] if token != made[0])
    answer = ask(server, endpoint, stop_token_ids=[stop], return_token_ids=True, ignore_eos=True)
    assert token_ids(answer)[1] == made[: made.index(stop) + 1]
    assert text(whole).startswith(text(answer))
    assert len(text(answer)) < len(text(whole))


@everywhere
def test_tokens_are_told_in_streams(server: RunningServer, endpoint: str) -> None:
    expected = token_ids(ask(server, endpoint, return_token_ids=True, ignore_eos=True))
    told = events(server, endpoint, return_token_ids=True, ignore_eos=True)
    prompts: list[int] = []
    made: list[int] = []
    for event in told:
        if event.get("type") in ("response.incomplete", "response.completed"):
            prompts, made = event["response"]["prompt_token_ids"], event["response"]["token_ids"]
        elif event.get("type") == "message_start":
            prompts = event["message"]["prompt_token_ids"]
        for part in (event, *event.get("choices", ())):
            if "type" not in part or part["type"] == "message_delta":
                made += part.get("token_ids", [])
                prompts = prompts or part.get("prompt_token_ids", [])
    assert (prompts, made) == expected


@everywhere
def test_bad_words_and_allowed_tokens_hold(server: RunningServer, endpoint: str) -> None:
    plain = ask(server, endpoint, ignore_eos=True)
    word = text(plain).split()[0]
    assert word not in text(ask(server, endpoint, ignore_eos=True, bad_words=[word]))
    allowed = {"allowed_token_ids": [40, 41], "return_token_ids": True, "ignore_eos": True}
    assert set(token_ids(ask(server, endpoint, **allowed))[1]) <= {40, 41}


@everywhere
def test_a_format_is_enforced_by_every_name(server: RunningServer, endpoint: str) -> None:
    schema = {"enum": ["yes", "no"]}
    for named in (
        {"json_schema": schema},
        {"guided_json": schema},
        {"structured_outputs": {"json": schema}},
        {"grammar": 'root ::= "\\"yes\\"" | "\\"no\\""'},
    ):
        assert text(ask(server, endpoint, **named)) in ('"yes"', '"no"'), named


@everywhere
def test_a_prompt_is_cut_to_its_last_tokens(server: RunningServer, endpoint: str) -> None:
    whole = token_ids(ask(server, endpoint, return_token_ids=True))[0]
    cut = token_ids(ask(server, endpoint, return_token_ids=True, truncate_prompt_tokens=2))[0]
    assert cut == whole[-2:]


@everywhere
def test_a_prompt_is_scored_in_vllms_shape(server: RunningServer, endpoint: str) -> None:
    answer = ask(server, endpoint, prompt_logprobs=1, return_token_ids=True)
    ids = token_ids(answer)[0]
    scored = answer.get("prompt_logprobs") or answer["choices"][0]["prompt_logprobs"]
    assert len(scored) == len(ids)
    assert scored[0] is None
    for id, entry in zip(ids[1:], scored[1:], strict=True):
        assert set(entry[str(id)]) == {"logprob", "rank", "decoded_token"}
        assert min(each["rank"] for each in entry.values()) == 1
        assert len(entry) == (1 if entry[str(id)]["rank"] == 1 else 2)
    refused = server.client.post(
        endpoint, json={**ENDPOINTS[endpoint], "prompt_logprobs": 1, "stream": True}
    )
    assert refused.status_code == 400
    assert "prompt_logprobs" in refused.text


def test_the_attention_of_a_prompts_last_tokens_is_told(server: RunningServer) -> None:
    body = {"prompt": "Hello! How are you?", "max_tokens": 0, "prompt_logprobs": 0}
    response = server.client.post("v1/completions", json={**body, "prompt_attention_from": 3})
    (choice,) = response.json()["choices"]
    found = choice["prompt_attention"]
    assert found["layers"] == 6
    assert len(found["mean"]) == 3
    assert len(found["tokens"]) == len(choice["prompt_logprobs"]) - 3
    assert all({place for place, _ in top} == {0, 1, 2} for top in found["tokens"])
    assert all(0 < sum(weight for _, weight in top) <= 1.0001 for top in found["tokens"])
    without = server.client.post("v1/completions", json=body).json()["choices"][0]
    assert "prompt_attention" not in without


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"prompt_attention_from": 3}, "needs 'prompt_logprobs'"),
        ({"prompt_attention_from": 0, "prompt_logprobs": 0}, "prompt_attention_from"),
        ({"prompt_attention_from": 900, "prompt_logprobs": 0}, "must be less than that"),
    ],
    ids=["without-logprobs", "first-token", "behind-the-end"],
)
def test_an_attention_that_cannot_be_told_is_refused(
    server: RunningServer, body: dict[str, int], told: str
) -> None:
    refused = server.client.post("v1/completions", json={"prompt": "Hello! How?", **body})
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert error["param"] == "prompt_attention_from"
    assert told in error["message"]


@everywhere
def test_penalties_and_filters_change_the_answer(server: RunningServer, endpoint: str) -> None:
    hot = {"temperature": 1, "seed": 3, "ignore_eos": True}
    plain = text(ask(server, endpoint, **hot))
    assert text(ask(server, endpoint, **hot, typical_p=1, xtc_probability=0)) == plain
    penalised = {"repetition_penalty": 1.9}
    assert text(ask(server, endpoint, **hot, repeat_penalty=1.9)) == text(
        ask(server, endpoint, **hot, **penalised)
    )
    assert text(ask(server, endpoint, **hot, xtc_probability=1, xtc_threshold=1e-5)) != plain


def begun(endpoint: str, said: str) -> dict[str, Any]:
    """A conversation whose last message is the beginning of an answer."""
    messages = [*HELLO, {"role": "assistant", "content": said}]
    if endpoint == "v1/messages":
        return {"messages": messages}
    goes_on = {"continue_final_message": True, "add_generation_prompt": False}
    return {"input" if endpoint == "v1/responses" else "messages": messages, **goes_on}


@pytest.mark.parametrize("endpoint", ["v1/chat/completions", "v1/responses", "v1/messages"])
def test_an_answer_goes_on_with_its_beginning(server: RunningServer, endpoint: str) -> None:
    ask(server, endpoint, ignore_eos=True)
    whole = ask(server, endpoint, ignore_eos=True, return_token_ids=True)
    prompt, made = token_ids(whole)
    pieces = server.client.post("detokenize", json={"tokens": made[:3]}).json()["content"]
    said = pieces.rstrip()
    answer = ask(server, endpoint, **begun(endpoint, said), ignore_eos=True, return_token_ids=True)
    told, rest = token_ids(answer)
    assert told[: len(prompt)] == prompt
    assert not text(answer).startswith(said)
    fed = server.client.post("detokenize", json={"tokens": told}).json()["content"]
    assert fed.endswith(said)
    assert rest[:2] == [*made[len(told) - len(prompt) :], *rest][:2]


def test_mistrals_and_moonshots_names_of_a_beginning_are_taken(server: RunningServer) -> None:
    endpoint = "v1/chat/completions"
    said = "Hel"
    expected = ask(server, endpoint, **begun(endpoint, said))
    for name in ("prefix", "partial"):
        messages = [*HELLO, {"role": "assistant", "content": said, name: True}]
        assert text(ask(server, endpoint, messages=messages)) == text(expected)


def test_what_cannot_be_gone_on_with_is_refused(server: RunningServer) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    for message in (
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": ""},
        {"role": "assistant", "content": "So", "tool_calls": [call]},
    ):
        answer = server.chat(
            messages=[*HELLO, message], continue_final_message=True, add_generation_prompt=False
        )
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == "continue_final_message"
    both = server.chat(
        messages=[*HELLO, {"role": "assistant", "content": "{"}],
        continue_final_message=True,
        response_format={"type": "json_object"},
    )
    assert both.json()["error"]["param"] == "continue_final_message"


def test_a_prompt_without_an_opened_answer_is_fed_as_it_is(server: RunningServer) -> None:
    answers = [
        ask(server, "v1/chat/completions", return_token_ids=True, add_generation_prompt=opened)
        for opened in (True, False)
    ]
    opened, closed = (token_ids(answer)[0] for answer in answers)
    assert len(closed) < len(opened)
    assert opened[: len(closed)] == closed


QUESTION = [{"role": "user", "content": "What is 2 plus 3?"}]
THINKING: dict[str, dict[str, Any]] = {
    "v1/chat/completions": {"messages": QUESTION, "max_tokens": 60},
    "v1/responses": {"input": QUESTION[0]["content"], "max_output_tokens": 60},
    "v1/messages": {"messages": QUESTION, "max_tokens": 60},
}


@pytest.mark.parametrize("endpoint", THINKING)
def test_thinking_is_turned_on_and_left_out(server: RunningServer, endpoint: str) -> None:
    asked = {**THINKING[endpoint], "enable_thinking": True}
    shown = ask(server, endpoint, **asked)
    hidden = ask(server, endpoint, **asked, include_reasoning=False)
    usage = hidden["usage"]
    details = usage.get("completion_tokens_details") or usage["output_tokens_details"]
    assert max(details.get("reasoning_tokens", 0), details.get("thinking_tokens", 0)) > 0
    for word in ("reasoning_content", '"thinking"', "reasoning_text"):
        assert word not in json.dumps(hidden)
    assert any(
        word in json.dumps(shown) for word in ("reasoning_content", '"thinking"', "reasoning_text")
    )
    plain = ask(server, endpoint, **{**asked, "enable_thinking": False})
    assert not any(
        word in json.dumps(plain) for word in ("reasoning_content", '"thinking"', "reasoning_text")
    )


@pytest.mark.parametrize("endpoint", ["v1/chat/completions", "v1/completions"])
def test_every_chunk_tells_the_usage_so_far(server: RunningServer, endpoint: str) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    chunks = events(server, endpoint, stream_options=options, ignore_eos=True)
    counts = [chunk["usage"]["completion_tokens"] for chunk in chunks]
    assert counts == sorted(counts)
    assert counts[-1] == 6
    assert {chunk["usage"]["prompt_tokens"] for chunk in chunks} == {
        chunks[-1]["usage"]["prompt_tokens"]
    }
    assert chunks[-1]["choices"] == []


@pytest.mark.parametrize("endpoint", ["v1/chat/completions", "v1/completions", "v1/responses"])
def test_options_of_a_stream_need_a_stream(server: RunningServer, endpoint: str) -> None:
    body = {**ENDPOINTS[endpoint], "stream_options": {"include_obfuscation": False}}
    answer = server.client.post(endpoint, json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "stream_options"
    assert server.client.post(endpoint, json={**body, "stream": True}).status_code == 200
    padded = {**body, "stream": True, "stream_options": {"include_obfuscation": True}}
    answer = server.client.post(endpoint, json=padded)
    assert answer.headers[IGNORED] == "stream_options.include_obfuscation"


def test_embeddings_are_cut_and_refuse_what_would_change_them(server: RunningServer) -> None:
    def embed(**parameters: Any) -> dict[str, Any]:
        body = {"model": "words", "input": "one two three", **parameters}
        answer = server.client.post("v1/embeddings", json=body)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    whole, cut = embed(), embed(truncate_prompt_tokens=5)
    assert whole["usage"]["prompt_tokens"] > 5
    assert cut["usage"]["prompt_tokens"] == 5
    long = embed(input="word " * 500, truncate_prompt_tokens=-1)
    assert long["usage"]["prompt_tokens"] == 24
    body = {"model": "words", "input": "one", "input_type": "query"}
    assert server.client.post("v1/embeddings", json=body).json()["error"]["param"] == "input_type"


def test_queries_of_stored_responses_are_checked(server: RunningServer) -> None:
    id = ask(server, "v1/responses")["id"]
    for query, param in (
        ("include=banana", "include[0]"),
        ("include[]=banana", "include[0]"),
        ("stream=maybe", "stream"),
        ("starting_after=x", "starting_after"),
    ):
        answer = server.client.get(f"v1/responses/{id}?{query}")
        assert answer.status_code == 400, query
        assert answer.json()["error"]["param"] == param
    listed = server.client.get(f"v1/responses/{id}/input_items?include=banana")
    assert listed.json()["error"]["param"] == "include[0]"
    good = server.client.get(f"v1/responses/{id}?include=reasoning.encrypted_content")
    assert good.status_code == 200
    padded = server.client.get(f"v1/responses/{id}?include_obfuscation=true")
    assert padded.headers[IGNORED] == "include_obfuscation"


def test_compacting_is_no_response_of_that_name(server: RunningServer) -> None:
    for method in ("GET", "DELETE"):
        answer = server.client.request(method, "v1/responses/compact")
        assert answer.status_code == 405
        assert answer.json()["error"]["code"] == "method_not_allowed"
