"""Documents and videos become images and text, in processes that can be killed."""

import logging
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from mlx_notebook.protocol import ChatPrompt
from mlx_notebook.server.batches.batch_database import BatchDatabase
from mlx_notebook.server.batches.file_store import FileStore, NewFile
from mlx_notebook.server.errors import InvalidRequest, NotFound
from mlx_notebook.server.media.attachments import AttachmentLimits, AttachmentLoader
from mlx_notebook.server.media.image_loader import ImageLimits, ImageLoader
from mlx_notebook.server.media.page_choice import chosen_pages
from mlx_notebook.server.media.rendering.media_tasks import Frames, RenderPages, SampleFrames
from mlx_notebook.server.media.rendering.media_workers import MediaWorkers
from mlx_notebook.server.media.rendering.video_frames import sample_frames
from mlx_notebook.server.media.sound_loader import SoundLimits
from mlx_notebook.server.media.sources.image_fetcher import ImageError, ImageFetcher
from mlx_notebook.server.media.sources.source_reader import SourceReader
from mlx_notebook.server.media.sources.user_files import UserFiles
from mlx_notebook.server.wire.content import (
    AudioSource,
    ContentPiece,
    DocumentSource,
    FileReference,
    ImageSource,
    VideoSource,
    content_of,
)
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


NO_FILES = UserFiles(lambda: pytest.fail("a file is read"), "ann")


async def load(
    *pieces: ContentPiece,
    files: UserFiles = NO_FILES,
    takes_video: bool = False,
    **limits: Any,
) -> Any:
    reader = SourceReader(ImageFetcher(), None)
    images = ImageLoader(ImageLimits(100_000, 100_000, 4, 1_000_000), reader)
    given = AttachmentLimits(**{**LIMITS, **limits})
    sounds = SoundLimits(bytes=100, seconds=60, count=2, total=150)
    loader = AttachmentLoader(given, images, reader, MediaWorkers(), sounds)
    prompt = ChatPrompt(messages=[{"role": "user", "content": content_of(pieces)}])
    prompt = await loader.with_texts(prompt, files)
    return await loader.load(prompt, files, takes_video=takes_video)


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


async def test_a_file_has_the_limits_of_what_it_is_used_as(tmp_path: Path) -> None:
    log = logging.getLogger("test")
    store = FileStore(BatchDatabase(tmp_path / "it.sqlite3", max_bytes=10**6, log=log))

    async def kept(name: str, content: bytes, owner: str = "ann") -> FileReference:
        made = await store.create(owner, NewFile(name, "user_data", content))
        return FileReference(made.id, "place.file_id")

    def of(given: FileReference, **beside: Any) -> DocumentSource:
        return DocumentSource(given, "place", "place.source", **beside)

    files = UserFiles(lambda: store, "ann")
    report, notes = await kept("report.pdf", pages_of(3)), await kept("é.txt", "\ufeffé".encode())
    loaded = await load(of(report, may_be_text=True), of(notes, may_be_text=True), files=files)
    content = loaded.prompt.messages[0]["content"]
    assert content[0]["text"] == "report.pdf (pages 1-2 of 3)"
    assert [part["type"] for part in content] == ["text", "image", "image", "text"]
    assert content[3]["text"] == "é.txt\né"
    titled = await load(of(notes, heading=("Notes",), may_be_text=True), files=files)
    assert titled.prompt.messages[0]["content"] == "Notes\né"

    large, binary = await kept("large.txt", b"x" * 101), await kept("it.bin", b"\xff\x00")
    for piece, code, param in (
        (of(large, may_be_text=True), "document_too_large", "place"),
        (of(report), "document_too_large", "place"),
        (of(binary, may_be_text=True), "invalid_document", "place"),
        (of(binary), "invalid_document", "place"),
        (of(notes, pages="1", may_be_text=True), "unsupported_parameter", "place.pages"),
        (VideoSource(large, "place", "place.video_url"), "video_too_large", "place"),
        (ImageSource(await kept("a.png", b"x" * 100_001), "place"), "image_too_large", "place"),
    ):
        with pytest.raises(InvalidRequest) as caught:
            await load(piece, files=files, document_bytes=100, video_bytes=100)
        assert (caught.value.code, caught.value.param) == (code, param)

    others = await kept("report.pdf", pages_of(1), owner="bob")
    for unknown in (others, FileReference("file-none", "place.file_id")):
        for each in (of(unknown), of(unknown, may_be_text=True), ImageSource(unknown, "place")):
            with pytest.raises(NotFound) as missing:
                await load(each, files=files)
            assert missing.value.code == "file_not_found"
            assert missing.value.param == "place.file_id"


async def test_sounds_have_limits() -> None:
    def sounds(*sizes: int) -> list[ContentPiece]:
        return [
            AudioSource(b64encode(b"x" * size).decode(), f"place[{at}]")
            for at, size in enumerate(sizes)
        ]

    loaded = await load("Listen:", *sounds(100, 50))
    assert [(len(sound.data), sound.where) for sound in loaded.prompt.sounds] == [
        (100, "place[0]"),
        (50, "place[1]"),
    ]
    assert loaded.prompt.messages[0]["content"][1:] == [{"type": "audio"}] * 2
    for given, code, param in (
        (sounds(101), "audio_too_large", "place[0]"),
        (sounds(100, 51), "audio_too_large", "place[1]"),
        (sounds(1, 1, 1), "too_many_sounds", "place[2]"),
        ([AudioSource("?", "place[0]")], "invalid_audio", "place[0]"),
    ):
        with pytest.raises(InvalidRequest) as caught:
            await load(*given)
        assert (caught.value.code, caught.value.param) == (code, param)
