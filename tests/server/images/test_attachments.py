"""Documents and videos become images and text, in processes that can be killed."""

from pathlib import Path
from typing import Any

import pytest

from mlx_notebook.protocol import ChatPrompt
from mlx_notebook.server.errors import InvalidRequest
from mlx_notebook.server.images.attachments import AttachmentLimits, AttachmentLoader
from mlx_notebook.server.images.image_fetcher import ImageError, ImageFetcher
from mlx_notebook.server.images.image_loader import ImageLimits, ImageLoader
from mlx_notebook.server.images.media_tasks import Frames, RenderPages, SampleFrames
from mlx_notebook.server.images.media_workers import MediaWorkers
from mlx_notebook.server.images.page_choice import chosen_pages
from mlx_notebook.server.images.source_reader import SourceReader
from mlx_notebook.server.images.video_frames import sample_frames
from mlx_notebook.server.wire.content import ContentPiece, DocumentSource, VideoSource, content_of
from tests.media import coloured, data_uri, pages_of, pdf, video

pytestmark = pytest.mark.anyio

LIMITS: dict[str, Any] = {
    "document_bytes": 1_000_000,
    "document_pages": 2,
    "most_pages": 4,
    "page_pixels": 20_000,
    "video_bytes": 1_000_000,
    "video_seconds": 60.0,
    "fps": 1.0,
    "frames": 3,
    "most_frames": 4,
    "frame_pixels": 1024,
    "total": 1_000_000,
}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def load(*pieces: ContentPiece, takes_video: bool = False, **limits: Any) -> Any:
    reader = SourceReader(ImageFetcher(), None)
    images = ImageLoader(ImageLimits(100_000, 100_000, 4, 1_000_000), reader)
    given = AttachmentLimits(**{**LIMITS, **limits})
    loader = AttachmentLoader(given, images, reader, MediaWorkers())
    prompt = ChatPrompt(messages=[{"role": "user", "content": content_of(pieces)}])
    return await loader.load(prompt, takes_video=takes_video)


def document(*pages: Any, **options: Any) -> DocumentSource:
    given = data_uri(pdf(*pages)) if pages else data_uri(pages_of(3))
    return DocumentSource(given, "place", "place.file", **options)


@pytest.mark.parametrize(
    ("text", "pages"),
    [("3", [(3, 3)]), ("1-3,7", [(1, 3), (7, 7)]), (" 7 , 1-2 ", [(7, 7), (1, 2)])],
)
def test_a_choice_of_pages_is_read_in_its_order(text: str, pages: list[tuple[int, int]]) -> None:
    assert chosen_pages(text) == pages


@pytest.mark.parametrize(
    "text", ["", "0", "-1", "2-1", "1-", "a", "1,,2", "1;2", "1-3,2", "9" * 8, "1," * 200 + "9"]
)
def test_a_wrong_choice_of_pages_is_refused(text: str) -> None:
    with pytest.raises(ImageError):
        chosen_pages(text)


async def test_pages_stand_where_the_document_stood() -> None:
    titled = document("a", "b", heading=("Report", "From May"), pages="2")
    loaded = await load("Before.", document(), titled, "After.")
    [message] = loaded.prompt.messages
    assert message["content"] == [
        {"type": "text", "text": "Before.\n(pages 1-2 of 3)"},
        {"type": "image"},
        {"type": "image"},
        {"type": "text", "text": "Report (pages 2 of 2)\nFrom May"},
        {"type": "image"},
        {"type": "text", "text": "After."},
    ]
    assert len(loaded.notices) == 1
    # Sides are rounded up.
    assert all(image.width * image.height <= 20_500 for image in loaded.prompt.images)


async def test_the_whole_conversation_has_a_budget() -> None:
    with pytest.raises(InvalidRequest) as caught:
        await load(document(pages="1-3"), document(pages="1-2"))
    assert (caught.value.code, caught.value.param) == ("too_many_pages", "place")
    frames = VideoSource(tuple([data_uri(b"")] * 5), "place", "place.video")
    with pytest.raises(InvalidRequest) as caught:
        await load(frames)
    assert caught.value.code == "too_many_frames"
    with pytest.raises(InvalidRequest) as caught:
        await load(document(), document_bytes=100)
    assert caught.value.code == "document_too_large"
    assert "max_document_bytes" in caught.value.message
    with pytest.raises(InvalidRequest) as caught:
        await load(document("a"), total=100)
    assert caught.value.code == "document_too_large"


async def test_frames_are_scaled_and_spread(tmp_path: Path) -> None:
    data = video(tmp_path, [coloured("red")] * 40 + [coloured("blue")] * 40)
    source = VideoSource(data_uri(data, "video/avi"), "place", "place.video_url")
    loaded = await load(source, takes_video=True)
    [shown] = loaded.prompt.images
    assert shown.times == [1.3, 4.0, 6.6]
    assert len(shown.frames) == 2
    assert shown.width * shown.height <= 1024
    assert "3 frames are shown, fewer than 1 a second" in loaded.notices[0]


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv", "film.webm"])
def test_containers_are_known_by_their_content(name: str, tmp_path: Path) -> None:
    data = video(tmp_path, [coloured("red")] * 20, name=name)
    made = sample_frames(SampleFrames(data, 2.0, 9, 1024, 60.0, 1_000_000))
    assert made.times == [0.2, 0.7, 1.2, 1.7]


def test_a_video_that_is_cut_off_shows_what_is_there(tmp_path: Path) -> None:
    data = video(tmp_path, [coloured("red")] * 20)
    made = sample_frames(SampleFrames(data[: len(data) * 6 // 10], 2.0, 9, 1024, 60.0, 1_000_000))
    assert isinstance(made, Frames)
    assert len(made.frames) < made.wanted == 4


async def test_a_process_that_takes_too_much_is_ended() -> None:
    task = RenderPages(pages_of(999), [(1, 999)], 999, 4_000_000, 10**9)
    with pytest.raises(ImageError, match="1 s of processor time"):
        await MediaWorkers(seconds=1).run(task)
    with pytest.raises(ImageError, match="memory"):
        await MediaWorkers(memory=2**20).run(task)
