"""Images through the official clients, to a random vision model and to a text model."""

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

from tests.server.running import RunningServer, running
from tests.tiny_models.models import tiny_vision

FIXED: dict[str, Any] = {"model": "vision-model", "temperature": 0, "max_tokens": 6}


def png(colour: str = "red") -> bytes:
    buffer = io.BytesIO()
    image = Image.new("RGB", (96, 64), "white")
    ImageDraw.Draw(image).ellipse((20, 10, 60, 50), fill=colour)
    image.save(buffer, "PNG")
    return buffer.getvalue()


def data_uri(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


class ImageHandler(BaseHTTPRequestHandler):
    """Serves one image and records the requested paths in `requested`."""

    requested: list[str]

    def do_GET(self) -> None:
        self.requested.append(self.path)
        self.send_response(200 if self.path == "/red.png" else 404)
        self.send_header("content-type", "image/png")
        self.end_headers()
        if self.path == "/red.png":
            self.wfile.write(png())

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


class ImageServer:
    """The URL of another server, and the paths that were requested from it."""

    def __init__(self, url: str, requested: list[str]) -> None:
        self.url, self.requested = url, requested


@pytest.fixture(scope="module")
def images() -> Iterator[ImageServer]:
    requested: list[str] = []
    handler = type("Handler", (ImageHandler,), {"requested": requested})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        yield ImageServer(f"http://127.0.0.1:{other.server_port}", requested)
        other.shutdown()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of images that requests may name by `file://` URLs."""
    folder = tmp_path_factory.mktemp("images")
    (folder / "red.png").write_bytes(png())
    return folder


@pytest.fixture(scope="module")
def vision(
    images: ImageServer, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    models = tmp_path_factory.mktemp("models")
    tiny_vision(models / "vision-model")
    settings = {
        "models_dirs": [str(models)],
        "allow_image_urls": [images.url.removeprefix("http://"), "localhost:1"],
        "image_root": str(folder),
    }
    with running(config={"MlxNotebookApp": settings}) as server:
        yield server


@pytest.fixture(scope="module")
def client(vision: RunningServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=vision.openai_url, api_key=vision.token, max_retries=0) as made:
        yield made


@pytest.fixture(scope="module")
def claude(vision: RunningServer) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=vision.url, api_key=vision.token, max_retries=0) as made:
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


def test_an_image_gives_the_same_answer_in_every_form(
    client: openai.OpenAI, images: ImageServer, folder: Path
) -> None:
    plain = base64.b64encode(png()).decode()
    urls = (data_uri(png()), plain, f"{images.url}/red.png", f"file://{folder}/red.png")
    answers = [chat(client, url) for url in urls]
    assert len({answer.choices[0].message.content for answer in answers}) == 1
    text = client.chat.completions.create(
        **FIXED, messages=[{"role": "user", "content": "What is it?"}]
    )
    assert len({answer.usage.prompt_tokens for answer in answers}) == 1
    assert answers[0].usage.prompt_tokens > text.usage.prompt_tokens + 8


def test_a_stream_has_the_text_of_the_complete_answer(client: openai.OpenAI) -> None:
    chunks = chat(client, data_uri(png("blue")), stream=True)
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert said == chat(client, data_uri(png("blue"))).choices[0].message.content


def test_all_ways_of_counting_agree(
    vision: RunningServer, client: openai.OpenAI, claude: anthropic.Anthropic
) -> None:
    url = data_uri(png())
    counted = chat(client, url).usage.prompt_tokens
    body = {"model": "vision-model", "messages": shown(url)}
    assert len(vision.client.post("tokenize", json=body).json()["tokens"]) == counted
    assert "What is it?" in vision.client.post("apply-template", json=body).json()["prompt"]
    assert claude.messages.count_tokens(**anthropic_request()).input_tokens == counted
    items: list[Any] = [{"role": "user", "content": input_parts(url)}]
    assert (
        client.responses.input_tokens.count(model="vision-model", input=items).input_tokens
        == counted
    )


def input_parts(url: str) -> list[Any]:
    return [
        {"type": "input_image", "image_url": url, "detail": "auto"},
        {"type": "input_text", "text": "What is it?"},
    ]


def anthropic_request() -> dict[str, Any]:
    data = base64.b64encode(png()).decode()
    source = {"type": "base64", "media_type": "image/png", "data": data}
    content = [{"type": "image", "source": source}, {"type": "text", "text": "What is it?"}]
    return {"model": "vision-model", "messages": [{"role": "user", "content": content}]}


def test_images_are_accepted_in_messages_and_tool_results(claude: anthropic.Anthropic) -> None:
    first = claude.messages.create(**anthropic_request(), max_tokens=4)
    assert first.usage.output_tokens > 0
    image = anthropic_request()["messages"][0]["content"][0]
    use = {"type": "tool_use", "id": "t1", "name": "look", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": [image]}
    turns: list[Any] = [
        {"role": "user", "content": "Look!"},
        {"role": "assistant", "content": [use]},
        {"role": "user", "content": [result]},
    ]
    with_image = claude.messages.create(model="vision-model", max_tokens=4, messages=turns)
    result["content"] = "nothing"
    without = claude.messages.create(model="vision-model", max_tokens=4, messages=turns)
    assert with_image.usage.input_tokens > without.usage.input_tokens


def test_a_stored_conversation_keeps_its_images(client: openai.OpenAI, images: ImageServer) -> None:
    requested = len(images.requested)
    content = input_parts(f"{images.url}/red.png")
    first = client.responses.create(
        model="vision-model", input=[{"role": "user", "content": content}], max_output_tokens=4
    )
    second = client.responses.create(
        model="vision-model", input="Again?", previous_response_id=first.id, max_output_tokens=4
    )
    assert first.usage is not None
    assert second.usage is not None
    assert second.usage.input_tokens > first.usage.input_tokens
    assert len(images.requested) == requested + 1
    [item] = client.responses.input_items.list(first.id).data
    assert item.content[0].image_url == data_uri(png())  # type: ignore[union-attr]


def test_a_trace_describes_an_image_without_its_data(
    vision: RunningServer, client: openai.OpenAI
) -> None:
    trace = vision.client.get(f"mlx/traces/{chat(client, data_uri(png())).id}").json()
    entry = trace["messages"][0]["content"][0]
    assert (entry["media_type"], entry["width"], entry["height"]) == ("image/png", 96, 64)
    assert entry["bytes"] == len(png())
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
def test_an_invalid_image_is_reported_with_its_path(
    client: openai.OpenAI, images: ImageServer, url: str, code: str
) -> None:
    good = shown(data_uri(png()))
    with pytest.raises(openai.BadRequestError) as caught:
        chat(client, "", messages=[*good, *shown(url.format(images.url))])
    assert caught.value.code == code
    assert caught.value.param == "messages[1].content[0].image_url"
    assert "messages[1].content[0].image_url" in caught.value.message


def test_a_text_model_refuses_images_and_names_the_vision_models(
    client: openai.OpenAI, claude: anthropic.Anthropic
) -> None:
    chat(client, data_uri(png()))
    with pytest.raises(openai.BadRequestError, match=r"vision-model \(in memory\)") as caught:
        chat(client, "https://x/y", model="tiny-chat")
    assert caught.value.code == "vision_not_supported"
    assert caught.value.param == "messages[0].content[0].image_url"
    parts = input_parts("https://x/y")
    with pytest.raises(openai.BadRequestError, match="'tiny-chat' takes no images") as caught:
        client.responses.create(model="tiny-chat", input=[{"role": "user", "content": parts}])
    assert caught.value.param == "input[0].content[0].image_url"
    with pytest.raises(anthropic.BadRequestError, match="takes no images"):
        claude.messages.create(**{**anthropic_request(), "model": "tiny-chat"}, max_tokens=4)
