"""PDFs and videos at a real server: seen, counted, cached and refused as images are."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from mlx_notebook import demo_models
from tests.media import ENCRYPTED, circle, coloured, data_uri, pages_of, pdf, video
from tests.server.running import RunningServer, running

COLOURS = ("red", "blue", "green")
DOCUMENT = pdf(*(circle(colour) for colour in COLOURS), size=(256, 256))
QUESTION = "What colour is the circle?"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that shows two pages unasked; `stills` is tiny-vision without videos."""
    folder = tmp_path_factory.mktemp("models")
    stills = folder / "stills"
    stills.mkdir()
    tiny_vision = Path(demo_models.__file__).parent / "tiny-vision"
    for file in tiny_vision.iterdir():
        (stills / file.name).write_bytes(file.read_bytes())
    config = json.loads((stills / "config.json").read_text())
    del config["video_token_id"]
    (stills / "config.json").write_text(json.dumps(config))
    root = tmp_path_factory.mktemp("root")
    (root / "report.pdf").write_bytes(DOCUMENT)
    settings = {
        "models_dirs": [str(folder)],
        "document_pages": 2,
        "document_page_pixels": 65_536,
        "image_root": str(root),
    }
    with running(config={"MlxNotebookApp": settings}) as server:
        yield server


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Two seconds: red, then blue."""
    frames = [coloured(colour) for colour in ("red", "blue") for _ in range(10)]
    return video(tmp_path_factory.mktemp("video"), frames)


def file(data: bytes = DOCUMENT, **beside: Any) -> dict[str, Any]:
    return {"type": "file", "file": {"file_data": data_uri(data)}, **beside}


def film(data: bytes, **beside: Any) -> dict[str, Any]:
    return {"type": "video_url", "video_url": {"url": data_uri(data, "video/avi")}, **beside}


def message(*parts: dict[str, Any], text: str = QUESTION) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]


def ask(server: RunningServer, *parts: dict[str, Any], **options: Any) -> Any:
    given = {"model": "tiny-vision", "max_tokens": 12, "temperature": 0, **options}
    response = server.chat(messages=message(*parts), **given)
    assert response.status_code == 200, response.text
    return response


def refusal(server: RunningServer, *parts: dict[str, Any], **options: Any) -> dict[str, Any]:
    response = server.chat(messages=message(*parts), **{"model": "tiny-vision", **options})
    assert response.status_code == 400, response.text
    error: dict[str, Any] = response.json()["error"]
    return error


def text(response: Any) -> str:
    return str(response.json()["choices"][0]["message"]["content"])


def usage(response: Any) -> Any:
    return response.json()["usage"]


def counted(server: RunningServer, *parts: dict[str, Any], model: str = "tiny-vision") -> int:
    body = {"model": model, "messages": message(*parts)}
    response = server.client.post("tokenize", json=body)
    assert response.status_code == 200, response.text
    return len(response.json()["tokens"])


def trace(server: RunningServer, response: Any) -> Any:
    server.wait_until_idle()
    return server.client.get(f"mlx/traces/{response.headers['x-request-id']}").json()


def test_a_page_is_seen_counted_and_not_computed_twice(server: RunningServer) -> None:
    for number, colour in enumerate(COLOURS, 1):
        assert colour in text(ask(server, file(pages=str(number))))
    first = ask(server, file(pages="2-3,1"))
    again = ask(server, file(pages="2-3,1"))
    assert text(first) == text(again)
    tokens = usage(first)["prompt_tokens"]
    assert tokens == counted(server, file(pages="2-3,1"))
    assert tokens > usage(ask(server, file(pages="1")))["prompt_tokens"] + 100
    assert usage(again)["prompt_tokens_details"]["cached_tokens"] >= tokens - 4
    assert "x-mlx-notices" not in first.headers


def test_what_is_left_out_is_said(server: RunningServer) -> None:
    response = ask(server, file())
    notice = response.headers["x-mlx-notices"]
    assert "messages[0].content[0]" in notice
    assert "pages 1-2 of 3" in notice
    traced = trace(server, response)
    assert traced["notices"] == [notice]
    parts = traced["messages"][0]["content"]
    assert parts[0] == {"type": "text", "text": "(pages 1-2 of 3)"}
    assert [part["type"] for part in parts[1:]] == ["image", "image", "text"]
    assert parts[1]["width"] * parts[1]["height"] <= 65_536


def test_all_apis_show_the_same_pages(server: RunningServer) -> None:
    given = {"model": "tiny-vision", "temperature": 0}
    chat = ask(server, file(pages="3"))
    encoded = base64.b64encode(DOCUMENT).decode()
    with openai.OpenAI(base_url=server.openai_url, api_key=server.token, max_retries=0) as client:
        for source in ({"file_data": data_uri(DOCUMENT)}, {"file_url": "file:report.pdf"}):
            part: Any = {"type": "input_file", **source, "pages": "3"}
            content = [part, {"type": "input_text", "text": QUESTION}]
            response = client.responses.create(
                input=[{"role": "user", "content": content}], max_output_tokens=12, **given
            )
            assert response.output_text == text(chat)
            assert response.usage is not None
            assert response.usage.input_tokens == usage(chat)["prompt_tokens"]
            # The stored item contains the file, also where it came from a URL.
            [item] = client.responses.input_items.list(response.id).data
            assert item.to_dict()["content"][0]["file_data"] == data_uri(DOCUMENT)  # type: ignore[index]
            follow = client.responses.create(
                input=QUESTION, previous_response_id=response.id, max_output_tokens=12, **given
            )
            assert "green" in follow.output_text
    with anthropic.Anthropic(
        base_url=server.url.rstrip("/"), api_key=server.token, max_retries=0
    ) as claude:
        source = {"type": "base64", "media_type": "application/pdf", "data": encoded}
        document: Any = {"type": "document", "source": source, "pages": "3"}
        messages: Any = [
            {"role": "user", "content": [document, {"type": "text", "text": QUESTION}]}
        ]
        answer = claude.messages.create(
            model="tiny-vision", max_tokens=12, messages=messages, extra_body={"temperature": 0}
        )
        assert answer.content[0].text == text(chat)  # type: ignore[union-attr]
        tokens = claude.messages.count_tokens(model="tiny-vision", messages=messages)
        assert tokens.input_tokens == usage(chat)["prompt_tokens"]
        cached = answer.usage.cache_read_input_tokens
        assert answer.usage.input_tokens + (cached or 0) == tokens.input_tokens


def test_a_text_model_gets_the_text_if_it_is_asked_for(server: RunningServer) -> None:
    written = file(pdf("First line", "Second line", circle("red")), pages="2-3", pages_as="text")
    body = {"model": "tiny-chat", "messages": message(written, text="Read it.")}
    shown = server.client.post("apply-template", json=body).json()["prompt"]
    assert "(pages 2-3 of 3)" in shown
    assert "[Page 2]\nSecond line\n[Page 3]\n(This page has no text.)" in shown
    assert "First line" not in shown
    response = ask(server, written, model="tiny-chat")
    assert usage(response)["prompt_tokens"] == counted(server, written, model="tiny-chat")
    error = refusal(server, file(pages="1"), model="tiny-chat")
    assert (error["code"], error["param"]) == ("vision_not_supported", "messages[0].content[0]")
    assert "'pages_as': 'text'" in error["message"]
    assert "tiny-vision" in error["message"]
    no_text = refusal(server, file(pages="1", pages_as="text"), model="tiny-chat")
    assert no_text["code"] == "invalid_document"
    assert "no text" in no_text["message"]


def test_a_long_document_is_refused_before_it_is_computed(server: RunningServer) -> None:
    long = file(pages_of(90), pages="1-90")
    error = refusal(server, long)
    assert error["code"] == "context_length_exceeded"


@pytest.mark.parametrize(
    ("part", "code", "says"),
    [
        (file(ENCRYPTED), "invalid_document", "encrypted"),
        (file(pages_of(10_000)), "invalid_document", "10,000 pages"),
        (file(pages_of(10_000), pages="1-10000"), "too_many_pages", "max_document_pages"),
        (file(pdf("wide", size=(28_346, 200))), "invalid_document", "10.00 x 0.07 m"),
        (file(DOCUMENT[:900]), "invalid_document", "damaged"),
        (file(b"hello"), "invalid_document", "not a PDF"),
        (file(pages="4"), "invalid_document", "3 pages"),
        (file(pages="3-1"), "invalid_document", "'1-3,7'"),
        (file(pages="1,1"), "invalid_document", "twice"),
        ({"type": "file", "file": {}}, "missing_parameter", "file_data"),
        ({"type": "file", "file": {"file_id": "a", "file_data": "b"}}, "invalid_value", "one of"),
        ({"type": "file", "file": {"file_data": "file:other.pdf"}}, "image_url_not_allowed", ""),
        ({"type": "file", "file": {"file_data": "http://a.b/c.pdf"}}, "image_url_not_allowed", ""),
        (film(b"\0\0\0\x20ftypisom" + b"x" * 900), "invalid_video", "damaged"),
        (film(b"#EXTM3U\nfile:///etc/passwd"), "invalid_video", "not a video"),
        (film(b"x", max_frames=129), "too_many_frames", "max_video_frames"),
        ({"type": "video", "video": ["aGVsbG8="]}, "invalid_video", "frame 0"),
    ],
)
def test_bad_files_are_refused(
    server: RunningServer, part: dict[str, Any], code: str, says: str
) -> None:
    error = refusal(server, part)
    assert error["code"] == code
    assert says in error["message"]
    assert error["param"].startswith("messages[0].content[0]")


def test_a_video_that_claims_ten_hours_is_refused(server: RunningServer, clip: bytes) -> None:
    head = clip.index(b"strh") + 28
    scale = int.from_bytes(clip[head : head + 4], "little") * 18_000
    long = clip[:head] + scale.to_bytes(4, "little") + clip[head + 4 :]
    error = refusal(server, film(long))
    assert error["code"] == "video_too_large"
    assert "36,000 seconds" in error["message"]


def test_a_video_is_one_to_a_model_that_takes_videos(server: RunningServer, clip: bytes) -> None:
    first, again = ask(server, film(clip, fps=2)), ask(server, film(clip, fps=2))
    assert text(first) == text(again)
    tokens = usage(first)["prompt_tokens"]
    assert tokens == counted(server, film(clip, fps=2))
    assert usage(again)["prompt_tokens_details"]["cached_tokens"] >= tokens - 4
    traced = trace(server, first)
    assert traced["messages"][0]["content"][0]["times"] == [0.2, 0.7, 1.2, 1.7]
    assert "<0.4 seconds><|vision_start|>" in traced["prompt"]
    assert traced["notices"] == []
    few = ask(server, film(clip, fps=2, max_frames=2))
    assert usage(few)["prompt_tokens"] < tokens
    assert "fewer than 2 a second" in few.headers["x-mlx-notices"]
    # The same frames, one by one.
    urls = [data_uri(video_frame, "image/png") for video_frame in _pngs("red", "blue")]
    listed = ask(server, {"type": "video", "video": urls, "fps": 2})
    assert "<0.2 seconds>" in trace(server, listed)["prompt"]


def test_a_video_is_still_images_to_other_models(server: RunningServer, clip: bytes) -> None:
    response = ask(server, film(clip), model="stills")
    assert "still images" in response.headers["x-mlx-notices"]
    assert usage(response)["prompt_tokens"] == counted(server, film(clip), model="stills")
    parts = trace(server, response)["messages"][0]["content"]
    assert [part.get("text", part["type"]) for part in parts] == [
        *("[0.5 s]", "image", "[1.5 s]", "image", QUESTION)
    ]
    error = refusal(server, film(clip), model="tiny-chat")
    assert error["code"] == "vision_not_supported"
    assert "frames" in error["message"]


def test_files_of_the_user_are_shown_as_those_in_the_request(
    server: RunningServer, clip: bytes
) -> None:
    image = _pngs("green")[0]
    with openai.OpenAI(base_url=server.openai_url, api_key=server.token, max_retries=0) as client:
        ids = {
            name: client.files.create(file=(name, data), purpose=purpose).id  # type: ignore[arg-type]
            for name, data, purpose in (
                ("report.pdf", DOCUMENT, "user_data"),
                ("green.png", image, "vision"),
                ("film.avi", clip, "user_data"),
            )
        }
        named = {
            "type": "file",
            "file": {"filename": "report.pdf", "file_data": data_uri(DOCUMENT)},
        }
        shown = {"type": "image_url", "image_url": {"url": data_uri(image, "image/png")}}
        inline = ask(server, {**named, "pages": "3"}, shown, film(clip))
        parts = (
            {"type": "file", "file": {"file_id": ids["report.pdf"]}, "pages": "3"},
            {"type": "image_url", "image_url": {"file_id": ids["green.png"]}},
            {"type": "video_url", "video_url": {"file_id": ids["film.avi"]}},
        )
        assert text(ask(server, *parts)) == text(inline)
        tokens = usage(inline)["prompt_tokens"]
        assert counted(server, *parts) == tokens
        inputs: Any = [
            {"type": "input_file", "file_id": ids["report.pdf"], "pages": "3"},
            {"type": "input_image", "file_id": ids["green.png"], "detail": "auto"},
            {"type": "input_video", "file_id": ids["film.avi"]},
            {"type": "input_text", "text": QUESTION},
        ]
        items: Any = [{"type": "message", "role": "user", "content": inputs}]
        given: Any = {"model": "tiny-vision", "temperature": 0, "max_output_tokens": 12}
        response = client.responses.create(input=items, **given)
        assert response.output_text == text(inline)
        count = client.responses.input_tokens.count(model="tiny-vision", input=items)
        assert count.input_tokens == response.usage.input_tokens == tokens  # type: ignore[union-attr]
        # What is kept names the files, and does not contain them.
        [item] = client.responses.input_items.list(response.id).data
        kept = [part.get("file_id") for part in item.to_dict()["content"]]  # type: ignore[attr-defined]
        assert kept == [*ids.values(), None]
        assert "base64" not in item.to_json()
        conversation = client.conversations.create(items=items)
        within = client.responses.create(input="Once more?", conversation=conversation.id, **given)
        assert within.usage is not None
        assert within.usage.input_tokens > tokens
        listed = client.conversations.items.list(conversation.id, order="asc").data[0]
        assert [part.get("file_id") for part in listed.to_dict()["content"]] == kept  # type: ignore[attr-defined]
        _check_messages(server, ids, tokens, text(inline))
        for id in ids.values():
            client.files.delete(id)
        with pytest.raises(openai.NotFoundError) as caught:
            client.chat.completions.create(model="tiny-vision", messages=message(*parts))  # type: ignore[arg-type]
        assert caught.value.code == "file_not_found"
        assert caught.value.param == "messages[0].content[0].file.file_id"
        with pytest.raises(openai.NotFoundError) as caught:
            client.responses.create(input="And?", previous_response_id=response.id, **given)
        assert caught.value.param == "previous_response_id.content[0].file_id"


def _check_messages(server: RunningServer, ids: dict[str, str], tokens: int, said: str) -> None:
    """Ask the same by `v1/messages`; a text may be a file there too."""
    with (
        anthropic.Anthropic(
            base_url=server.url.rstrip("/"), api_key=server.token, max_retries=0
        ) as claude,
        openai.OpenAI(base_url=server.openai_url, api_key=server.token) as client,
    ):
        kinds = zip(("document", "image", "video"), ids.values(), strict=True)
        blocks: list[Any] = [
            {"type": kind, "source": {"type": "file", "file_id": id}} for kind, id in kinds
        ]
        blocks[0]["pages"] = "3"
        messages: Any = [{"role": "user", "content": [*blocks, {"type": "text", "text": QUESTION}]}]
        answer = claude.beta.messages.create(
            model="tiny-vision",
            max_tokens=12,
            messages=messages,
            betas=["files-api-2025-04-14"],
            extra_body={"temperature": 0},
        )
        assert answer.content[0].text == said  # type: ignore[union-attr]
        count = claude.messages.count_tokens(model="tiny-vision", messages=messages)
        assert count.input_tokens == tokens
        notes = client.files.create(file=("notes.txt", b"It is late."), purpose="user_data").id
        sources: list[Any] = [
            {"source": {"type": "file", "file_id": notes}},
            {"source": {"type": "text", "data": "It is late.", "media_type": "text/plain"}},
        ]
        counts = [
            claude.messages.count_tokens(
                model="tiny-chat",
                messages=[
                    {
                        "role": "user",
                        "content": [{"type": "document", "title": "notes.txt", **source}],
                    }
                ],
            ).input_tokens
            for source in sources
        ]
        assert counts[0] == counts[1]


def _pngs(*colours: str) -> list[bytes]:
    import io

    found = []
    for colour in colours:
        held = io.BytesIO()
        coloured(colour).save(held, "PNG")
        found.append(held.getvalue())
    return found
