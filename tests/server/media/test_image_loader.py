"""Images in requests: taken in by their order, or refused with their place and the reason."""

import base64
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mlx_notebook.protocol import ChatPrompt
from mlx_notebook.server.errors import InvalidRequest
from mlx_notebook.server.media.image_loader import ImageLimits, ImageLoader
from mlx_notebook.server.media.sources.image_fetcher import ImageFetcher
from mlx_notebook.server.media.sources.source_reader import SourceReader
from mlx_notebook.server.media.sources.user_files import UserFiles
from mlx_notebook.server.wire.content import CheckedImage, ImageSource, content_of

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def encoded(kind: str = "PNG", size: tuple[int, int] = (6, 4), mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, kind)
    return buffer.getvalue()


def in_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


PNG = encoded()
NO_FILES = UserFiles(lambda: pytest.fail("a file is read"), "ann")


def intake(root: Path | None = None, **limits: int) -> ImageLoader:
    given = {"bytes": 100_000, "pixels": 10_000, "count": 4, "total": 150_000, **limits}
    return ImageLoader(ImageLimits(**given), SourceReader(ImageFetcher(), root))


async def load_images(*given: str, by: ImageLoader | None = None) -> list[CheckedImage]:
    sources = [ImageSource(one, f"place[{at}]") for at, one in enumerate(given)]
    prompt = ChatPrompt(messages=[{"role": "user", "content": content_of(["Look:", *sources])}])
    done = await (by or intake()).load_images(prompt, NO_FILES)
    assert done.messages[0]["content"][1:] == [{"type": "image"}] * len(given)
    return [image for image in done.images if isinstance(image, CheckedImage)]


async def refusal(given: str, by: ImageLoader | None = None) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        await load_images(in_base64(PNG), given, by=by)
    assert caught.value.param == "place[1]"
    assert "place[1]" in caught.value.message
    return caught.value


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
async def test_each_kind_is_known_by_its_content(kind: str) -> None:
    data = encoded(kind)
    [image] = await load_images(f"data:image/png;base64,{in_base64(data)}")
    assert image.data == data
    assert image.media_type == f"image/{kind.lower()}"
    assert (image.width, image.height) == (6, 4)
    assert len(image.digest) == 64


@pytest.mark.parametrize(
    "write",
    [
        in_base64,
        lambda data: f"data:image/png;base64,{in_base64(data)}",
        lambda data: f" DATA:;BASE64,{base64.encodebytes(data).decode()}",
        lambda data: "data:image/png," + "".join(f"%{byte:02x}" for byte in data),
    ],
    ids=["bare", "uri", "with line breaks", "percent"],
)
async def test_an_image_comes_in_several_forms(write: Callable[[bytes], str]) -> None:
    [image] = await load_images(write(PNG))
    assert image.data == PNG


async def test_images_larger_than_a_slice_are_whole() -> None:
    data = PNG + os.urandom(600_001)
    [image] = await load_images(in_base64(data), by=intake(bytes=10**6, total=10**6))
    assert image.data == data


SVG = b'<?xml version="1.0"?>\n<!-- drawn -->\n<svg xmlns="http://www.w3.org/2000/svg"/>'


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "it is empty"),
        (SVG, "an SVG drawing"),
        (b"<svg/>", "an SVG drawing"),
        (b"<!DOCTYPE html><p>", "an HTML page"),
        (b"%PDF-1.7 ...", "a PDF document"),
        (b"\0\0\0\x20ftypheic\0\0\0\0", "a HEIC image"),
        (b"\0\0\0\x20ftypisom\0\0\0\0", "a video"),
        (b"just words, named cat.png", "it is text"),
        (PNG[:20], "broken"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "broken"),
        pytest.param(os.urandom(64) + b"\xff", "broken", id="random bytes"),
        (encoded("JPEG")[:30], "broken"),
        (encoded("TIFF")[:9], "broken"),
    ],
)
async def test_what_is_no_image_is_named(data: bytes, why: str) -> None:
    error = await refusal(f"data:image/png;base64,{in_base64(data)}")
    assert why in error.message
    assert error.code == "invalid_image"


async def test_a_damaged_image_leaves_no_warning_in_the_log(
    recwarn: pytest.WarningsRecorder,
) -> None:
    error = await refusal(f"data:image/tiff;base64,{in_base64(encoded('TIFF')[:9])}")
    assert "broken" in error.message
    assert not recwarn.list


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (in_base64(PNG)[:-3], "cut off"),
        (in_base64(PNG).rstrip("=") + "A", "cut off"),
        ("cat.png", "neither base64"),
        ("/etc/passwd", "cut off"),
        ("Ünicode", "neither base64"),
        ("", "it is empty"),
        ("AA==AAAA", "neither base64"),
        ("data:image/png;base64", "no comma"),
        ("data:image/png;base64,%%%", "neither base64"),
    ],
)
async def test_what_is_no_base64_is_told(given: str, why: str) -> None:
    error = await refusal(given)
    assert why in error.message
    assert error.code == "invalid_image"


@pytest.mark.parametrize("url", ["ftp://a/b.png", "blob:x", "s3://bucket/key", "javascript:x"])
async def test_other_schemes_are_refused(url: str) -> None:
    error = await refusal(url)
    assert error.code == "image_url_not_allowed"


async def test_urls_are_refused_where_no_host_is_listed() -> None:
    error = await refusal("https://example.com/cat.png")
    assert error.code == "image_url_not_allowed"
    assert "allow_image_urls" in error.message


async def test_an_image_of_too_many_bytes_is_refused_before_it_is_decoded() -> None:
    for size in (100_001, 900_000):
        error = await refusal(in_base64(bytes(size)))
        assert error.code == "image_too_large"
        assert "100,000 bytes" in error.message
        error = await refusal("data:," + "x" * size)
        assert error.code == "image_too_large"


async def test_a_small_file_with_many_pixels_is_refused() -> None:
    error = await refusal(in_base64(encoded(size=(200, 51))))
    assert error.code == "image_too_large"
    assert "200 x 51 pixels" in error.message
    bomb = bytearray(encoded("BMP"))
    bomb[18:26] = (60_000).to_bytes(4, "little") * 2
    assert (await refusal(in_base64(bytes(bomb)))).code == "image_too_large"


async def test_images_are_bounded_together() -> None:
    with pytest.raises(InvalidRequest, match="5 images") as caught:
        await load_images(*[in_base64(PNG)] * 5)
    assert (caught.value.param, caught.value.code) == ("place[4]", "too_many_images")
    error = await refusal(in_base64(PNG), by=intake(total=len(PNG) * 2 - 1))
    assert error.code == "image_too_large"
    assert "max_body_bytes" in error.message


async def test_files_are_read_below_the_root_only(tmp_path: Path) -> None:
    root = tmp_path / "root with space"
    (root / "inner").mkdir(parents=True)
    (root / "inner" / "a b.png").write_bytes(PNG)
    (root / "link.png").symlink_to(root / "inner" / "a b.png")
    (tmp_path / "outside.png").write_bytes(PNG)
    (root / "escape.png").symlink_to(tmp_path / "outside.png")
    (root / "ring").symlink_to(root / "ring")
    (root / "large.png").write_bytes(bytes(100_001))
    os.mkfifo(root / "pipe")
    allowed = intake(root)
    base = f"file://{root}".replace(" ", "%20")
    urls = (f"{base}/inner/a%20b.png", f"{base}/link.png", f"{base}/../{root.name}/link.png")
    for image in await load_images(*urls, by=allowed):
        assert image.data == PNG
    outside = (
        *(f"{base}/escape.png", f"{base}/../outside.png", f"{base}/%2e%2e/outside.png"),
        *(f"file://{tmp_path}/outside.png", "file:///etc/passwd", f"{base}/none.png", base),
        *(f"file://other{root}/link.png", f"{base}/ring", f"{base}/pipe", f"{base}/a%00b"),
        *("file:", "file://[bad", "file:../outside.png"),
    )
    for url in outside:
        error = await refusal(url, by=allowed)
        assert error.code == "image_url_not_allowed", url
        assert str(tmp_path) not in error.message
    error = await refusal(f"{base}/large.png", by=allowed)
    assert error.code == "image_too_large"
    assert (await refusal(urls[0])).code == "image_url_not_allowed"


async def test_a_prompt_that_was_taken_in_stays_as_it_is() -> None:
    source: Any = ImageSource(in_base64(PNG), "here")
    prompt = ChatPrompt(messages=[{"role": "user", "content": content_of([source])}])
    once = await intake().load_images(prompt, NO_FILES)
    assert await intake().load_images(once, NO_FILES) is once
