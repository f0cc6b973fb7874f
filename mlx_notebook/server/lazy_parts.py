"""Make the parts of the server that are not needed at its start, when a request first needs them.

Parameters that the functions share: `settings` are those of the app, `data` is the folder for what
the server keeps, and `log` is for files that cannot be used.
"""

from collections.abc import Callable
from logging import Logger
from pathlib import Path
from typing import TYPE_CHECKING

from jupyter_server.serverapp import ServerApp

from mlx_notebook.server.configuration import Configuration
from mlx_notebook.server.upstreams.request_router import RequestRouter

if TYPE_CHECKING:
    from mlx_notebook.server.batches.batch_service import BatchService
    from mlx_notebook.server.conversations.conversation_store import ConversationStore
    from mlx_notebook.server.media.attachments import AttachmentLoader
    from mlx_notebook.server.responses.response_runs import ResponseRuns
    from mlx_notebook.server.services import RequestLimits

# Most conversations of a user.
_MAX_CONVERSATIONS = 5000


def make_request_limits(settings: Configuration) -> "RequestLimits":
    """Return the limits on one request."""
    from mlx_notebook.server.services import RequestLimits

    return RequestLimits(
        max_body_bytes=settings.max_body_bytes,
        body_timeout_seconds=settings.body_timeout_seconds,
        keep_alive_seconds=settings.keep_alive_seconds,
        max_file_bytes=settings.max_file_bytes,
        max_messages=settings.max_messages,
        max_prompt_tokens=settings.max_prompt_tokens,
        max_batch=settings.max_batch,
        max_audio_bytes=settings.max_audio_bytes,
        max_audio_seconds=settings.max_audio_seconds,
        max_sockets=settings.max_sockets,
        socket_seconds=60 * settings.socket_minutes,
    )


def make_responses(
    settings: Configuration, data: Path, log: Logger, requests: RequestRouter
) -> "ResponseRuns":
    """Return responses and stored completions; `requests` runs them."""
    from mlx_notebook.server.responses.response_runs import ResponseRuns
    from mlx_notebook.server.responses.response_store import ResponseStore

    store = ResponseStore(
        data / "responses.sqlite3",
        max_age=settings.responses_max_age_days * 24 * 3600,
        max_bytes=settings.responses_max_bytes,
        log=log,
    )
    return ResponseRuns(store, requests, log)


def make_conversations(settings: Configuration, data: Path, log: Logger) -> "ConversationStore":
    """Return the conversations of JupyterLab's sidebar."""
    from mlx_notebook.server.conversations.conversation_store import ConversationStore

    return ConversationStore(
        data / "conversations.sqlite3",
        max_bytes=settings.conversations_max_bytes,
        max_count=_MAX_CONVERSATIONS,
        log=log,
    )


def make_batches(
    settings: Configuration,
    data: Path,
    log: Logger,
    server: ServerApp,
    changed: Callable[[], None],
) -> "BatchService":
    """Return files and batches, which go on where an earlier server has left them.

    Parameters
    ----------
    server
        Its routes answer the lines of batches.
    changed
        Called when a batch begins, goes on or ends.
    """
    from mlx_notebook.server.api.routing.line_sender import LineSender
    from mlx_notebook.server.batches.batch_service import BatchService

    service = BatchService(
        data,
        max_bytes=settings.files_max_bytes,
        send=LineSender(server.web_app, server.base_url).send,
        # A few more than run, so that the next ones are prepared meanwhile.
        places=settings.max_batch // 2 + 2,
        log=log,
        changed=changed,
    )
    service.resume()
    return service


def make_images(settings: Configuration) -> "AttachmentLoader":
    """Return what reads the images, sounds, documents and videos of requests."""
    from mlx_notebook.server.media.attachments import AttachmentLimits, AttachmentLoader
    from mlx_notebook.server.media.image_loader import ImageLimits, ImageLoader
    from mlx_notebook.server.media.rendering.media_workers import MediaWorkers
    from mlx_notebook.server.media.sound_loader import SoundLimits
    from mlx_notebook.server.media.sources.image_fetcher import ImageFetcher
    from mlx_notebook.server.media.sources.source_reader import SourceReader

    limits = AttachmentLimits(
        document_bytes=settings.max_document_bytes,
        document_pages=settings.document_pages,
        most_pages=settings.max_document_pages,
        page_pixels=settings.document_page_pixels,
        video_bytes=settings.max_video_bytes,
        video_seconds=settings.max_video_seconds,
        fps=settings.video_fps,
        frames=settings.video_frames,
        most_frames=settings.max_video_frames,
        frame_pixels=settings.video_frame_pixels,
        total=settings.max_body_bytes,
    )
    image_limits = ImageLimits(
        bytes=settings.max_image_bytes,
        pixels=settings.max_image_pixels,
        count=settings.max_images,
        total=settings.max_body_bytes,
    )
    root = Path(settings.image_root).expanduser() if settings.image_root else None
    reader = SourceReader(ImageFetcher(settings.allow_image_urls), root)
    images = ImageLoader(image_limits, reader)
    sounds = SoundLimits(
        bytes=settings.max_audio_bytes,
        seconds=settings.max_audio_seconds,
        count=settings.max_images,
        total=settings.max_body_bytes,
    )
    return AttachmentLoader(limits, images, reader, MediaWorkers(), sounds)
