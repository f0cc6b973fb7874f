"""Rows that show pictures: all that texts can be asked for, at a real server."""

import asyncio
import io
import json
import os
import shutil
import signal
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import mlx.core as mx
import openai
import pytest
from PIL import Image

import mlx_notebook
from mlx_notebook.notebook.connection import connection
from tests.engine.backends.vision.test_vision import image_bytes
from tests.server.api.test_tools import CLOCK, WEATHER, check
from tests.server.running import RunningServer, running, wait_for
from tests.tiny_models.models import qwen_vl

MODEL = "eyes"
ENDLESS = {"ignore_eos": True}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server with a model that sees, the same without eyes, and one that has no use for them."""
    folder = tmp_path_factory.mktemp("models")
    eyes = qwen_vl(folder / MODEL)
    shutil.copytree(eyes, folder / "eyes-embedding")
    words = shutil.copytree(eyes, folder / "words")
    weights = mx.load(str(words / "model.safetensors"))
    assert isinstance(weights, dict)
    spoken = {name: value for name, value in weights.items() if "vision" not in name}
    mx.save_safetensors(str(words / "model.safetensors"), spoken, {"format": "mlx"})
    blind = shutil.copytree(eyes, folder / "blind") / "tokenizer_config.json"
    settings = json.loads(blind.read_text())
    template = "{% for m in messages %}{{ m.content | replace('<', '') }}{% endfor %}"
    blind.write_text(json.dumps({**settings, "chat_template": template}))
    with running(config={"MlxNotebookApp": {"models_dirs": [str(folder)]}}) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.openai_url, api_key=server.token, max_retries=0) as made:
        yield made


def shown(*data: bytes, text: str = "What is it?") -> list[Any]:
    urls = [f"data:image/png;base64,{b64encode(one).decode()}" for one in data]
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]


def ask(client: openai.OpenAI, *data: bytes, **options: Any) -> Any:
    asked = {"model": MODEL, "messages": shown(*data), "max_tokens": 24, "temperature": 0}
    return client.chat.completions.create(**{**asked, **options})


def text(answer: Any) -> str:
    return str(answer.choices[0].message.content)


def test_calls_are_made_about_a_picture(client: openai.OpenAI) -> None:
    tools = {"tools": [WEATHER, CLOCK], "max_tokens": 400}
    answer = ask(client, image_bytes(1), tool_choice="required", parallel_tool_calls=False, **tools)
    [call] = answer.choices[0].message.tool_calls
    check(call.function.name, call.function.arguments)
    # Its result shows another picture, among texts.
    result = {"role": "tool", "tool_call_id": call.id, "content": "a picture"}
    turn = [*shown(image_bytes(1)), answer.choices[0].message.to_dict(), result]
    plain = ask(client, messages=turn, **tools)
    result["content"] = shown(image_bytes(2))[0]["content"]
    seen = ask(client, messages=turn, **tools)
    assert seen.choices[0].finish_reason in ("stop", "length", "tool_calls")
    assert seen.usage.prompt_tokens > plain.usage.prompt_tokens + 20
    assert seen.usage.prompt_tokens_details.cached_tokens > answer.usage.prompt_tokens
    for call in seen.choices[0].message.tool_calls or []:
        check(call.function.name, call.function.arguments)


def test_a_shape_is_kept_streamed_or_not(client: openai.OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"colour": {"enum": ["red", "blue"]}, "count": {"enum": [1, 2, 3]}},
        "required": ["colour", "count"],
        "additionalProperties": False,
    }
    shape = {"type": "json_schema", "json_schema": {"name": "seen", "schema": schema}}
    options = {"response_format": shape, "max_tokens": 200}
    whole = text(ask(client, image_bytes(1), **options))
    assert set(json.loads(whole)) == {"colour", "count"}
    chunks = ask(client, image_bytes(1), stream=True, **options)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole


def test_thinking_comes_apart_and_within_its_budget(client: openai.OpenAI) -> None:
    extra = {"chat_template_kwargs": {"open_thinking": True}, "thinking_budget": 8}
    answer = ask(client, image_bytes(1), extra_body={**extra, **ENDLESS}, max_tokens=40)
    message = answer.choices[0].message
    assert message.reasoning_content
    assert "</think>" not in text(answer)
    assert 0 < answer.usage.completion_tokens_details.reasoning_tokens <= 12


def test_stop_seed_rows_and_logprobs(client: openai.OpenAI) -> None:
    whole = text(ask(client, image_bytes(1), extra_body=ENDLESS))
    stop = next(char for char in whole[2:] if "!" <= char <= "~")
    ended = ask(client, image_bytes(1), stop=[stop], extra_body=ENDLESS)
    assert ended.choices[0].finish_reason == "stop"
    assert text(ended) == whole[: whole.index(stop)]
    sampled = {"temperature": 1.0, "seed": 5, "extra_body": ENDLESS}
    rows = ask(client, image_bytes(1), n=3, **sampled).choices
    assert len({row.message.content for row in rows}) == 3
    assert text(ask(client, image_bytes(1), **sampled)) == rows[0].message.content
    options = {"logprobs": True, "top_logprobs": 2, "max_tokens": 5, "extra_body": ENDLESS}
    tokens = ask(client, image_bytes(1), **options).choices[0].logprobs.content
    assert [len(token.top_logprobs) for token in tokens] == [2] * 5


def test_rows_of_one_batch_say_what_each_says_alone(
    server: RunningServer, client: openai.OpenAI
) -> None:
    prompts = [
        shown(image_bytes(1)),
        [{"role": "user", "content": "Only words, and many more of them than that one has."}],
        shown(image_bytes(2)),
        shown(image_bytes(3, (160, 40)), image_bytes(1), text="Which of them?"),
    ]
    options = {"max_tokens": 40, "extra_body": ENDLESS}
    alone = [text(ask(client, messages=prompt, **options)) for prompt in prompts]

    async def together() -> list[Any]:
        async with openai.AsyncOpenAI(base_url=server.openai_url, api_key=server.token) as many:
            asked = {"model": MODEL, "temperature": 0, **options}
            return await asyncio.gather(
                *(many.chat.completions.create(messages=prompt, **asked) for prompt in prompts)
            )

    assert [text(answer) for answer in asyncio.run(together())] == alone
    # The first and the third picture are of one size.
    assert alone[0] != alone[2]


def test_a_client_that_goes_away_ends_its_row(server: RunningServer, client: openai.OpenAI) -> None:
    def cancelled() -> int:
        return int(server.wait_until_idle()["totals"]["cancelled"])

    before = cancelled()
    with ask(client, image_bytes(4), stream=True, max_tokens=3000, extra_body=ENDLESS) as chunks:
        assert next(chunks).choices
    wait_for(lambda: cancelled() == before + 1, 10)


def test_pictures_outlive_the_engine_on_disk(server: RunningServer, client: openai.OpenAI) -> None:
    def kept() -> int:
        return len(list((server.folder / "mlx_notebook" / "prefixes").rglob("*.kv")))

    data = [image_bytes(seed, (256, 256)) for seed in (5, 6, 7)]
    before = kept()
    cold = ask(client, *data)
    ask(client, *data)  # what came twice is written
    wait_for(lambda: kept() >= before + cold.usage.prompt_tokens // 128, 20)
    os.kill(server.engine_pid(), signal.SIGKILL)
    wait_for(lambda: server.status()["engine"]["restarts"], 20)
    other = ask(client, *data[:2], image_bytes(8, (256, 256)))
    assert 512 <= other.usage.prompt_tokens_details.cached_tokens < 600
    warm = ask(client, *data)
    assert warm.usage.prompt_tokens_details.cached_tokens > cold.usage.prompt_tokens - 128
    assert text(other) != text(warm) == text(cold)


def test_what_is_in_memory_is_told_to_see_or_not(
    server: RunningServer, client: openai.OpenAI
) -> None:
    def capable(route: str) -> dict[str, bool]:
        listed = server.client.get(route).json()
        models = listed.get("models") or listed["data"]
        return {model["id"]: "vision" in model["capabilities"] for model in models}

    assert capable("v1/models")["blind"]
    with pytest.raises(openai.BadRequestError, match="'words' takes no images") as caught:
        ask(client, image_bytes(1), model="words")
    assert caught.value.code == "vision_not_supported"
    with pytest.raises(openai.BadRequestError, match=r"blind .* has no place for images"):
        ask(client, image_bytes(1), model="blind")
    hello: list[Any] = [{"role": "user", "content": "Hello"}]
    for name in ("words", "blind", MODEL):
        assert ask(client, model=name, messages=hello).usage.completion_tokens
    told = {"words": False, "blind": False, MODEL: True}
    wait_for(lambda: {m["id"]: m["vision"] for m in server.status()["models"]} == told, 10)
    for route in ("v1/models", "mlx/models"):
        assert capable(route).items() >= told.items()
    with pytest.raises(openai.BadRequestError, match=r"eyes \(in memory\)") as caught:
        ask(client, image_bytes(1), model="words")
    assert "blind" not in caught.value.message


def test_images_and_texts_are_embedded_together(
    server: RunningServer, client: openai.OpenAI
) -> None:
    listed = {m["id"]: m["capabilities"] for m in server.client.get("v1/models").json()["data"]}
    assert listed["eyes-embedding"] == ["embeddings", "image-embeddings"]
    [one, other] = (
        shown(image_bytes(seed))[0]["content"][0]["image_url"]["url"] for seed in (1, 2)
    )

    def vectors(**body: Any) -> Any:
        answer = server.client.post("v1/embeddings", json={"model": "eyes-embedding", **body})
        assert answer.status_code == 200, answer.text
        made = answer.json()
        return [item["embedding"] for item in made["data"]], made["usage"]["prompt_tokens"]

    words, few = vectors(input="a cat")
    together, tokens = vectors(
        input=[{"image": one}, "a cat", {"image": other}, {"text": "a cat", "image": one}]
    )
    assert together[1] == pytest.approx(words[0], abs=1e-4)
    # The official client passes objects on.
    given: Any = [{"image": one}]
    alone = client.embeddings.create(model="eyes-embedding", input=given, encoding_format="float")
    assert alone.data[0].embedding == pytest.approx(together[0], abs=1e-4)
    assert tokens > alone.usage.prompt_tokens + few
    chat, _ = vectors(messages=shown(image_bytes(1), text="a cat"))
    assert chat[0] == pytest.approx(together[3], abs=1e-4)
    assert together[0] != pytest.approx(together[2], abs=1e-3)

    mixed = ["a cat", Image.open(io.BytesIO(image_bytes(1)))]
    connection.disconnect()
    connection.connect(server.url, server.token)
    try:
        rows = mlx_notebook.embed(mixed, model="eyes-embedding", cache=False, show=False)
    finally:
        connection.disconnect()
    assert rows[0] == pytest.approx(words[0], abs=1e-4)
    assert rows[1] == pytest.approx(together[0], abs=1e-4)


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        (
            {"model": "tiny-chat", "input": [{"image": "aGk="}]},
            "input[0].image",
            "vision_not_supported",
        ),
        ({"input": {"image": "aGk="}}, "input.image", "invalid_image"),
        ({"input": [{"image": "http://a.b/c.png"}]}, "input[0].image", "image_url_not_allowed"),
        ({"input": [[1, 2], {"text": "a"}]}, "input[0]", None),
        ({"input": [{}]}, "input[0]", None),
        ({"input": "a", "messages": [{"role": "user", "content": "a"}]}, "messages", None),
        ({}, "input", "missing_parameter"),
    ],
)
def test_what_cannot_be_embedded_is_refused_by_name(
    server: RunningServer, body: dict[str, Any], param: str, code: str | None
) -> None:
    answer = server.client.post("v1/embeddings", json={"model": "eyes-embedding", **body})
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["param"] == param
    assert code is None or error["code"] == code
