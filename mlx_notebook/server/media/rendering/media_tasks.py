"""What the server and the process for documents and videos exchange."""

from msgspec import Struct


class RenderPages(Struct, frozen=True, tag="pages"):
    """A PDF whose pages to render, or whose text to read.

    Attributes
    ----------
    data
        The file.
    chosen
        Ranges of page numbers from 1, both ends included. None: the first `most`.
    most
        Most pages.
    pixels
        Pixels of a page.
    bytes
        Most bytes of all pages.
    as_text
        Read the pages' text and render nothing.
    """

    data: bytes
    chosen: list[tuple[int, int]] | None
    most: int
    pixels: int
    bytes: int
    as_text: bool = False


class SampleFrames(Struct, frozen=True, tag="frames"):
    """A video of which to decode some frames.

    Attributes
    ----------
    data
        The file.
    fps
        Frames a second.
    most
        Most frames. They are spread over the whole video.
    pixels
        Most pixels of a frame. Larger frames are scaled down.
    seconds
        Longest video.
    bytes
        Most bytes of all frames.
    """

    data: bytes
    fps: float
    most: int
    pixels: int
    seconds: float
    bytes: int


class Page(Struct, frozen=True):
    """A page: its number from 1, and its image or its text."""

    number: int
    data: bytes = b""
    media_type: str = ""
    width: int = 0
    height: int = 0
    text: str = ""


class Pages(Struct, frozen=True, tag="rendered"):
    """Pages of a document that has `count`."""

    count: int
    pages: list[Page]


class Frames(Struct, frozen=True, tag="sampled"):
    """Frames of a video as JPEG, each with its time in seconds, and the video's length.

    `wanted` is how many there should be. There are fewer if the file is cut off.
    """

    seconds: float
    wanted: int
    width: int
    height: int
    times: list[float]
    frames: list[bytes]


class Unusable(Struct, frozen=True, tag="unusable"):
    """Why a file cannot be used: the end of "... cannot be used: ". `code` as in `ImageError`."""

    reason: str
    code: str = "invalid_image"


MediaTask = RenderPages | SampleFrames
MediaAnswer = Pages | Frames | Unusable


class MediaFault(Exception):
    """A file cannot be used. The arguments are those of `Unusable`."""

    def __init__(self, reason: str, code: str = "invalid_image") -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code
