"""Pictures through the official clients, to a random model that sees and to one that does not."""

import base64
import io
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from PIL import Image, ImageDraw

from tests.models import tiny_vision
from tests.server.running import RunningServer, running

FIXED: dict[str, Any] = {"model": "seer", "temperature": 0, "max_tokens": 6}


def png(colour: str = "red") -> bytes:
    buffer = io.BytesIO()
    picture = Image.new("RGB", (96, 64), "white")
    ImageDraw.Draw(picture).ellipse((20, 10, 60, 50), fill=colour)
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def data_uri(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


class Pictures(BaseHTTPRequestHandler):
    """Another server, which has one picture; `asked` are the paths that were asked for."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(200 if self.path == "/red.png" else 404)
        self.send_header("content-type", "image/png")
        self.end_headers()
        if self.path == "/red.png":
            self.wfile.write(png())

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class Elsewhere:
    """The other server's URL and what it was asked."""

    def __init__(self, url: str, asked: list[str]) -> None:
        self.url, self.asked = url, asked


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Elsewhere]:
    asked: list[str] = []
    handler = type("Handler", (Pictures,), {"asked": asked})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        yield Elsewhere(f"http://127.0.0.1:{other.server_port}", asked)
        other.shutdown()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures that may be shown by their files."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "red.png").write_bytes(png())
    return folder


@pytest.fixture(scope="module")
def seeing(
    elsewhere: Elsewhere, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    models = tmp_path_factory.mktemp("models")
    tiny_vision(models / "seer")
    settings = {
        "models_dirs": [str(models)],
        "allow_image_urls": [elsewhere.url.removeprefix("http://"), "localhost:1"],
        "image_root": str(folder),
    }
    with running(config={"MlxNotebookApp": settings}) as server:
        yield server


@pytest.fixture(scope="module")
def client(seeing: RunningServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=seeing.openai_url, api_key=seeing.token, max_retries=0) as made:
        yield made


@pytest.fixture(scope="module")
def claude(seeing: RunningServer) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=seeing.url, api_key=seeing.token, max_retries=0) as made:
        yield made


def shown(url: str, text: str = "What is it?") -> list[Any]:
    return [
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": url, "detail": "auto"}},
                {"type": "text", "text": text},
            ],
        }
    ]


def chat(client: openai.OpenAI, url: str, **changes: Any) -> Any:
    return client.chat.completions.create(**{**FIXED, "messages": shown(url), **changes})


def test_a_picture_is_the_same_however_it_comes(
    client: openai.OpenAI, elsewhere: Elsewhere, folder: Path
) -> None:
    plain = base64.b64encode(png()).decode()
    urls = (data_uri(png()), plain, f"{elsewhere.url}/red.png", f"file://{folder}/red.png")
    answers = [chat(client, url) for url in urls]
    assert len({answer.choices[0].message.content for answer in answers}) == 1
    text = client.chat.completions.create(
        **FIXED, messages=[{"role": "user", "content": "What is it?"}]
    )
    assert len({answer.usage.prompt_tokens for answer in answers}) == 1
    assert answers[0].usage.prompt_tokens > text.usage.prompt_tokens + 8


def test_a_stream_says_the_same_as_a_whole_answer(client: openai.OpenAI) -> None:
    chunks = chat(client, data_uri(png("blue")), stream=True)
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert said == chat(client, data_uri(png("blue"))).choices[0].message.content


def test_all_ways_of_counting_agree(
    seeing: RunningServer, client: openai.OpenAI, claude: anthropic.Anthropic
) -> None:
    url = data_uri(png())
    counted = chat(client, url).usage.prompt_tokens
    body = {"model": "seer", "messages": shown(url)}
    assert len(seeing.client.post("tokenize", json=body).json()["tokens"]) == counted
    assert "What is it?" in seeing.client.post("apply-template", json=body).json()["prompt"]
    assert claude.messages.count_tokens(**spoken()).input_tokens == counted
    items: list[Any] = [{"role": "user", "content": input_parts(url)}]
    assert client.responses.input_tokens.count(model="seer", input=items).input_tokens == counted


def input_parts(url: str) -> list[Any]:
    return [
        {"type": "input_image", "image_url": url, "detail": "auto"},
        {"type": "input_text", "text": "What is it?"},
    ]


def spoken() -> dict[str, Any]:
    data = base64.b64encode(png()).decode()
    source = {"type": "base64", "media_type": "image/png", "data": data}
    content = [{"type": "image", "source": source}, {"type": "text", "text": "What is it?"}]
    return {"model": "seer", "messages": [{"role": "user", "content": content}]}


def test_a_message_and_a_tools_result_show_pictures(claude: anthropic.Anthropic) -> None:
    first = claude.messages.create(**spoken(), max_tokens=4)
    assert first.usage.output_tokens > 0
    picture = spoken()["messages"][0]["content"][0]
    use = {"type": "tool_use", "id": "t1", "name": "look", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": [picture]}
    turns: list[Any] = [
        {"role": "user", "content": "Look!"},
        {"role": "assistant", "content": [use]},
        {"role": "user", "content": [result]},
    ]
    with_picture = claude.messages.create(model="seer", max_tokens=4, messages=turns)
    result["content"] = "nothing"
    without = claude.messages.create(model="seer", max_tokens=4, messages=turns)
    assert with_picture.usage.input_tokens > without.usage.input_tokens


def test_a_stored_conversation_shows_its_pictures_again(
    client: openai.OpenAI, elsewhere: Elsewhere
) -> None:
    asked = len(elsewhere.asked)
    content = input_parts(f"{elsewhere.url}/red.png")
    first = client.responses.create(
        model="seer", input=[{"role": "user", "content": content}], max_output_tokens=4
    )
    second = client.responses.create(
        model="seer", input="Again?", previous_response_id=first.id, max_output_tokens=4
    )
    assert first.usage is not None
    assert second.usage is not None
    assert second.usage.input_tokens > first.usage.input_tokens
    assert len(elsewhere.asked) == asked + 1
    [item] = client.responses.input_items.list(first.id).data
    assert item.content[0].image_url == data_uri(png())  # type: ignore[union-attr]


def test_a_trace_shows_a_picture_in_a_few_words(
    seeing: RunningServer, client: openai.OpenAI
) -> None:
    trace = seeing.client.get(f"mlx/traces/{chat(client, data_uri(png())).id}").json()
    told = trace["messages"][0]["content"][0]
    assert (told["media_type"], told["width"], told["height"]) == ("image/png", 96, 64)
    assert told["bytes"] == len(png())
    assert base64.b64encode(png()).decode() not in str(trace)


@pytest.mark.parametrize(
    ("url", "code"),
    [
        (data_uri(b"<svg/>"), "invalid_image"),
        (data_uri(b""), "invalid_image"),
        (data_uri(png()[:-200]), "invalid_image"),
        (data_uri(png())[:-3], "invalid_image"),
        ("https://example.com/red.png", "image_url_not_allowed"),
        ("http://localhost:1/red.png", "image_url_not_allowed"),
        ("file:///etc/passwd", "image_url_not_allowed"),
        ("{}/none.png", "image_not_fetched"),
    ],
)
def test_what_cannot_be_shown_is_told_with_its_place(
    client: openai.OpenAI, elsewhere: Elsewhere, url: str, code: str
) -> None:
    good = shown(data_uri(png()))
    with pytest.raises(openai.BadRequestError) as caught:
        chat(client, "", messages=[*good, *shown(url.format(elsewhere.url))])
    assert caught.value.code == code
    assert caught.value.param == "messages[1].content[0].image_url"
    assert "messages[1].content[0].image_url" in caught.value.message


def test_a_model_of_text_refuses_and_names_those_that_see(
    client: openai.OpenAI, claude: anthropic.Anthropic
) -> None:
    chat(client, data_uri(png()))
    with pytest.raises(openai.BadRequestError, match=r"seer \(in memory\)") as caught:
        chat(client, "https://x/y", model="tiny-chat")
    assert caught.value.code == "vision_not_supported"
    assert caught.value.param == "messages[0].content[0].image_url"
    parts = input_parts("https://x/y")
    with pytest.raises(openai.BadRequestError, match="'tiny-chat' takes no images") as caught:
        client.responses.create(model="tiny-chat", input=[{"role": "user", "content": parts}])
    assert caught.value.param == "input[0].content[0].image_url"
    with pytest.raises(anthropic.BadRequestError, match="takes no images"):
        claude.messages.create(**{**spoken(), "model": "tiny-chat"}, max_tokens=4)
