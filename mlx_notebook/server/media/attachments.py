"""Turn the documents and videos of requests into images and text, then load images and sounds."""

import re
from typing import Any

import msgspec
from msgspec import Struct

from mlx_notebook.protocol import ChatPrompt
from mlx_notebook.server.media.image_loader import ImageLoader
from mlx_notebook.server.media.page_choice import chosen_pages, page_count
from mlx_notebook.server.media.rendering.media_tasks import (
    Frames,
    Page,
    Pages,
    RenderPages,
    SampleFrames,
)
from mlx_notebook.server.media.rendering.media_workers import MediaWorkers
from mlx_notebook.server.media.sound_loader import SoundLimits, load_sounds
from mlx_notebook.server.media.sources.image_fetcher import ImageError, naming
from mlx_notebook.server.media.sources.media_kinds import DOCUMENT, VIDEO
from mlx_notebook.server.media.sources.source_reader import SourceReader
from mlx_notebook.server.media.sources.user_files import UserFiles, with_texts
from mlx_notebook.server.wire.content import (
    ContentPiece,
    DocumentSource,
    FileReference,
    ImageSource,
    RenderedImage,
    VideoSource,
    content_of,
    media_sources,
    pieces_of,
)

_EXTERNAL_URL = re.compile(r"\s*(?:https?|file):", re.IGNORECASE)


class AttachmentLimits(Struct, frozen=True):
    """Limits on documents and videos.

    Attributes
    ----------
    document_bytes, video_bytes
        Largest size of one.
    document_pages
        Pages of a document that are shown where the request chooses none.
    most_pages, most_frames
        Most pages and frames of one request.
    page_pixels, frame_pixels
        Pixels of a page, and most pixels of a frame.
    fps, frames
        Frames a second, and most frames, of a video where the request does not say.
    video_seconds
        Longest video.
    total
        Most bytes of all pages and frames of one request.
    """

    document_bytes: int
    document_pages: int
    most_pages: int
    page_pixels: int
    video_bytes: int
    video_seconds: float
    fps: float
    frames: int
    most_frames: int
    frame_pixels: int
    total: int


class LoadedFile(Struct, frozen=True):
    """A file from a URL: the JSON path of the URL, the media type and the bytes."""

    field: str
    media_type: str
    data: bytes


class LoadedPrompt(Struct, frozen=True):
    """A prompt with its images.

    `notices` say what the model does not see, `files` are documents from URLs.
    """

    prompt: ChatPrompt
    notices: list[str]
    files: list[LoadedFile]


class AttachmentLoader:
    """Load the images, sounds, documents and videos that requests name.

    Parameters
    ----------
    limits, sounds
        Limits on size and number, and those of sounds.
    images
        Loader of images.
    reader
        Reader of what requests name.
    workers
        Processes that read documents and videos.
    """

    def __init__(
        self,
        limits: AttachmentLimits,
        images: ImageLoader,
        reader: SourceReader,
        workers: MediaWorkers,
        sounds: SoundLimits,
    ) -> None:
        self._limits, self._sounds = limits, sounds
        self._images = images
        self._reader = reader
        self._workers = workers

    async def with_texts(self, prompt: ChatPrompt, files: UserFiles) -> ChatPrompt:
        """Return the prompt with the texts of those files of the user that are no PDFs.

        Raises
        ------
        InvalidRequest
            If one of them is no text either, or too large.
        NotFound
            If the user has no such file.
        """
        return await with_texts(prompt, files, self._limits.document_bytes, self._limits.total)

    async def load(
        self, prompt: ChatPrompt, files: UserFiles, *, takes_video: bool = False
    ) -> LoadedPrompt:
        """Return the prompt with the images, pages and frames that its messages name.

        Parameters
        ----------
        prompt
            The prompt.
        files
            The files of the user.
        takes_video
            Whether the model takes a video as one. Otherwise its frames are still images.

        Raises
        ------
        InvalidRequest
            If one of them cannot be loaded or used. `param` names its place in the request.
        NotFound
            If the user has no such file.
        """
        notices: list[str] = []
        loaded: list[LoadedFile] = []
        sources = media_sources(prompt.messages)
        if any(isinstance(source, DocumentSource | VideoSource) for source in sources):
            limits = self._limits
            request = _Request(limits.most_pages, limits.most_frames, notices, loaded, files)
            messages = [
                await self._expanded(message, request, takes_video) for message in prompt.messages
            ]
            prompt = msgspec.structs.replace(prompt, messages=messages)
        prompt = await self._images.load_images(prompt, files)
        prompt = await load_sounds(prompt, self._sounds, self._reader, files)
        return LoadedPrompt(prompt, notices, loaded)

    async def _expanded(
        self, message: dict[str, Any], request: "_Request", takes_video: bool
    ) -> dict[str, Any]:
        content = message.get("content")
        if not isinstance(content, list):
            return message
        pieces: list[ContentPiece] = []
        for piece in pieces_of(content):
            if isinstance(piece, DocumentSource):
                pieces += await naming(DOCUMENT, piece.where, self._document(piece, request))
            elif isinstance(piece, VideoSource):
                pieces += await naming(VIDEO, piece.where, self._video(piece, request, takes_video))
            else:
                pieces.append(piece)
        return {**message, "content": content_of(pieces)}

    async def _document(self, source: DocumentSource, request: "_Request") -> list[ContentPiece]:
        limits = self._limits
        chosen = chosen_pages(source.pages) if source.pages is not None else None
        request.need_pages(page_count(chosen) if chosen else 1)
        given, heading = source.given, [*source.heading]
        if isinstance(given, FileReference) and not heading:
            heading.append((await request.files.find(given))[0].filename)
        data = await self._reader.read(given, limits.document_bytes, DOCUMENT, request.files)
        if isinstance(given, str) and _EXTERNAL_URL.match(given):
            request.loaded.append(LoadedFile(source.field, "application/pdf", data))
        most = min(limits.document_pages, request.pages)
        as_text = source.pages_as == "text"
        task = RenderPages(data, chosen, most, limits.page_pixels, limits.total, as_text)
        made = await self._workers.run(task)
        assert isinstance(made, Pages)
        request.pages -= len(made.pages)
        if len(made.pages) < made.count:
            shown = source.pages or f"1-{len(made.pages)}"
            which = f"pages {' '.join(shown.split())} of {made.count:,}"
            heading[:1] = [f"{heading[0]} ({which})" if heading else f"({which})"]
            if chosen is None:
                request.notices.append(
                    f"The document at '{source.where}' is shown in part: {which}. Choose others "
                    "with 'pages'."
                )
        if not as_text:
            return [*heading, *(_image(page, source.where) for page in made.pages)]
        if not any(page.text for page in made.pages):
            raise ImageError(
                "its pages have no text, only images: leave out 'pages_as' and use a vision model"
            )
        return [*heading, *(_text(page) for page in made.pages)]

    async def _video(
        self, source: VideoSource, request: "_Request", takes_video: bool
    ) -> list[ContentPiece]:
        if isinstance(source.given, tuple):
            images, times = await self._listed_frames(source, source.given, request)
        else:
            images, times = await self._decoded_frames(source, source.given, request)
        if takes_video:
            sizes = {(image.width, image.height) for image in images}
            if len(sizes) > 1:
                raise ImageError("its frames are of different sizes")
            frames = tuple(image.data for image in images[1:])
            return [msgspec.structs.replace(images[0], frames=frames, times=tuple(times))]
        request.notices.append(
            f"The model takes no videos: {len(images)} frames of the video at '{source.where}' "
            "are shown to it as still images."
        )
        pieces: list[ContentPiece] = []
        for time, image in zip(times, images, strict=True):
            pieces += [f"[{time:.1f} s]", image]
        return pieces

    async def _decoded_frames(
        self, source: VideoSource, given: str | FileReference, request: "_Request"
    ) -> tuple[list[RenderedImage], list[float]]:
        limits = self._limits
        data = await self._reader.read(given, limits.video_bytes, VIDEO, request.files)
        request.need_frames(source.max_frames or 1)
        most = source.max_frames or min(limits.frames, request.frames)
        fps = source.fps or limits.fps
        task = SampleFrames(
            data, fps, most, limits.frame_pixels, limits.video_seconds, limits.total
        )
        made = await self._workers.run(task)
        assert isinstance(made, Frames)
        request.frames -= len(made.frames)
        self._note_gaps(source, made, fps, request)
        images = [
            RenderedImage(frame, source.where, "image/jpeg", made.width, made.height)
            for frame in made.frames
        ]
        return images, made.times

    def _note_gaps(
        self, source: VideoSource, made: Frames, fps: float, request: "_Request"
    ) -> None:
        """Report what of a video is not shown."""
        shown = len(made.frames)
        if shown < made.wanted:
            request.notices.append(
                f"The video at '{source.where}' is cut off: {shown} of the {made.wanted} frames "
                "to show can be decoded."
            )
        elif shown < int(made.seconds * fps):
            request.notices.append(
                f"The video at '{source.where}' has {made.seconds:.1f} s. {shown} frames are "
                f"shown, fewer than {fps:g} a second. More are possible with 'max_frames'."
            )

    async def _listed_frames(
        self, source: VideoSource, listed: tuple[str, ...], request: "_Request"
    ) -> tuple[list[RenderedImage], list[float]]:
        request.need_frames(len(listed))
        request.frames -= len(listed)
        images = []
        for at, given in enumerate(listed):
            image = ImageSource(given, f"{source.field}[{at}]")
            try:
                data = await self._images.read(image, request.files)
                checked = self._images.check_image(data, image)
            except ImageError as error:
                raise ImageError(f"its frame {at}: {error.reason}", error.code) from None
            images.append(
                RenderedImage(
                    checked.data, image.where, checked.media_type, checked.width, checked.height
                )
            )
        fps = source.fps or self._limits.fps
        return images, [round(at / fps, 3) for at in range(len(images))]


class _Request:
    """What one request may still show, and what is said about it."""

    def __init__(
        self,
        pages: int,
        frames: int,
        notices: list[str],
        loaded: list[LoadedFile],
        files: UserFiles,
    ) -> None:
        self.pages, self.frames = pages, frames
        self._most_pages, self._most_frames = pages, frames
        self.notices = notices
        self.loaded = loaded
        self.files = files

    def need_pages(self, count: int) -> None:
        """Check that the request may show so many more pages.

        Raises
        ------
        ImageError
            If they are too many.
        """
        if self.pages < count:
            raise ImageError(
                f"with it, the request has more than {self._most_pages:,} pages "
                "(MlxNotebookApp.max_document_pages)",
                "too_many_pages",
            )

    def need_frames(self, count: int) -> None:
        """Check that the request may show so many more frames.

        Raises
        ------
        ImageError
            If they are too many.
        """
        if self.frames < count:
            raise ImageError(
                f"with it, the request has more than {self._most_frames:,} frames "
                "(MlxNotebookApp.max_video_frames)",
                "too_many_frames",
            )


def _image(page: Page, where: str) -> RenderedImage:
    return RenderedImage(page.data, where, page.media_type, page.width, page.height)


def _text(page: Page) -> str:
    return f"[Page {page.number}]\n{page.text or '(This page has no text.)'}"
