"""Download models from Hugging Face, each in a process of its own that can be killed."""

import asyncio
import contextlib
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from logging import Logger
from typing import Any

import msgspec

from mlx_notebook.server import errors
from mlx_notebook.server.errors import ApiError
from mlx_notebook.server.identity import OWNER
from mlx_notebook.server.wire.native.model_types import DownloadedModel, Progress

_MODULE = ("-m", "mlx_notebook.server.models.downloads.hub_download")
# Use plain HTTP, which can continue a partial file.
_HUB_ENV = {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
# Time over which the speed is measured, for the estimate of the time left.
_SPEED_SECONDS = 10.0

_ERRORS: Mapping[str, type[ApiError]] = {
    "model_not_found": errors.NotFound,
    "revision_not_found": errors.NotFound,
    "not_a_model": errors.InvalidRequest,
    "model_gated": errors.Forbidden,
    "hub_refused": errors.Forbidden,
    "disk_full": errors.InsufficientStorage,
    "offline": errors.Unavailable,
    "hub_unreachable": errors.Unavailable,
    "hub_busy": errors.Unavailable,
    "hub_failed": errors.Unavailable,
    "download_interrupted": errors.Unavailable,
    "download_failed": errors.Unavailable,
    "cache_not_writable": errors.Unavailable,
}


class Download:
    """Track the download of one model.

    If `detached` is set it runs to its end. Otherwise it is cancelled when nobody watches it any
    more (see `watched`).
    """

    def __init__(self, model: str, revision: str | None) -> None:
        self.model = model
        self.revision = revision
        self.detached = False
        # Users who want it, and how often.
        self.owners: Counter[str] = Counter()
        self.done = 0
        self.total: int | None = None
        self.ended = False
        self._watchers = 0
        self._began = time.monotonic()
        self._points: deque[tuple[float, int]] = deque()
        self._updated = asyncio.Event()
        self._answer: DownloadedModel | None = None
        self._error: ApiError | None = None
        self.task: asyncio.Task[DownloadedModel] | None = None

    @property
    def progress(self) -> Progress:
        """Progress in bytes, and the seconds left at the speed of the last ten seconds."""
        return Progress("downloading", self.done, self.total, self._seconds_left())

    @property
    def answer(self) -> DownloadedModel:
        """The downloaded model, once the download has ended.

        Raises
        ------
        ApiError
            If the download failed or was cancelled.
        """
        if self._error is not None:
            raise self._error
        assert self._answer is not None, "the download has ended"
        return self._answer

    @contextmanager
    def watched(self, user: str = OWNER) -> Iterator[None]:
        """Watch the download for a user. It is cancelled if the last watcher leaves before its end.

        The user has asked for it with `Downloads.start`, and wants it no longer after the block.
        """
        self._watchers += 1
        try:
            yield
        finally:
            self._watchers -= 1
            self.owners -= Counter([user])
            if not self._watchers and not self.detached:
                self.cancel()

    async def changes(self) -> AsyncIterator[Progress]:
        """Yield the progress whenever it has changed, until the end."""
        yield self.progress
        while not self.ended:
            await self._updated.wait()
            if not self.ended:
                yield self.progress

    async def wait(self) -> None:
        """Wait until the download has ended, successfully or not."""
        while not self.ended:
            await self._updated.wait()

    def cancel(self) -> None:
        """Cancel the download. Its partial files stay on the disk."""
        if not self.ended and self.task is not None:
            self.task.cancel()

    def took(self) -> float:
        """Return the seconds since the start."""
        return round(time.monotonic() - self._began, 3)

    def report(self, done: int, total: int) -> None:
        """Set the progress, in bytes."""
        self.done, self.total = done, total
        now = time.monotonic()
        self._points.append((now, done))
        while now - self._points[0][0] > _SPEED_SECONDS:
            self._points.popleft()
        self._wake()

    def end(self, *, answer: DownloadedModel | None = None, error: ApiError | None = None) -> None:
        """Set the result."""
        self._answer, self._error, self.ended = answer, error, True
        self._wake()

    def _seconds_left(self) -> float | None:
        if self.total is None or len(self._points) < 2:
            return None
        (since, before), (now, done) = self._points[0], self._points[-1]
        if done <= before or now <= since:
            return None
        return round((self.total - done) * (now - since) / (done - before), 1)

    def _wake(self) -> None:
        self._updated.set()
        self._updated = asyncio.Event()


class Downloads:
    """Run the downloads of this server, at most one for each model.

    Parameters
    ----------
    env
        Environment variables of the processes.
    changed
        Called when the progress of a download has changed.
    ended
        Called when a download has ended, successfully or not.
    arrived
        Awaited with a finished download, before its watchers are woken.
    log
        Logger for the output of the processes.
    """

    def __init__(
        self,
        *,
        env: Mapping[str, str],
        changed: Callable[[], None],
        ended: Callable[[], None],
        arrived: Callable[[Download, DownloadedModel], Awaitable[None]],
        log: Logger,
    ) -> None:
        self._env = {**env, **_HUB_ENV}
        self._changed = changed
        self._ended = ended
        self._arrived = arrived
        self._log = log
        self._current: dict[str, Download] = {}

    @property
    def current(self) -> dict[str, Download]:
        """Running downloads by model."""
        return dict(self._current)

    def start(self, model: str, revision: str | None = None, user: str = OWNER) -> Download:
        """Start a download for a user, or return the running one of that model.

        Raises
        ------
        InvalidRequest
            If another revision of the model is being downloaded.
        """
        if (download := self._current.get(model)) is not None:
            if revision not in (None, download.revision):
                raise errors.InvalidRequest(
                    f"Revision {download.revision or 'main'!r} of {model!r} is being downloaded: "
                    "wait for it, or cancel it.",
                    param="revision",
                    code="download_in_progress",
                )
            download.owners[user] += 1
            return download
        download = self._current[model] = Download(model, revision)
        download.owners[user] += 1
        download.task = asyncio.create_task(self._download(download))
        # A callback, since a task that is cancelled before its first step runs no code of its own.
        download.task.add_done_callback(partial(self._end, download))
        self._changed()
        return download

    def cancel(self, model: str, user: str | None = None) -> bool:
        """Cancel the download of a model that a user wants; None for any user.

        Returns
        -------
        bool
            Whether there was one.

        Raises
        ------
        InvalidRequest
            If another user wants it too.
        """
        download = self._current.get(model)
        if download is None or (user is not None and user not in download.owners):
            return False
        if user is not None and len(download.owners) > 1:
            raise errors.InvalidRequest(
                f"Others wait for the download of {model!r} too, so it goes on. Close your own "
                "request if you need not wait for it.",
                param="model",
                code="download_in_progress",
            )
        download.cancel()
        return True

    async def close(self) -> None:
        """Cancel all downloads, and wait until their processes have ended."""
        tasks = [download.task for download in self._current.values() if download.task]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _download(self, download: Download) -> DownloadedModel:
        answer = await self._run_process(download)
        await self._arrived(download, answer)
        return answer

    def _end(self, download: Download, task: "asyncio.Task[DownloadedModel]") -> None:
        model = download.model
        del self._current[model]
        if task.cancelled():
            download.end(
                error=errors.RequestCancelled(
                    f"The download of {model!r} was cancelled. Anything already "
                    f"downloaded is kept, and `%mlx pull {model}` continues from there.",
                    code="download_cancelled",
                )
            )
        elif (error := task.exception()) is None:
            download.end(answer=task.result())
        elif isinstance(error, ApiError):
            download.end(error=error)
        else:
            self._log.error("Downloading %s failed.", model, exc_info=error)
            failure = f"The server failed to download {model!r}. Its log says why."
            download.end(error=errors.Unavailable(failure, code="download_failed"))
        try:
            self._ended()
            self._changed()
        except Exception:
            self._log.exception("The server failed after the download of %s.", model)

    async def _run_process(self, download: Download) -> DownloadedModel:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", *_MODULE),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self._env,
            start_new_session=True,
        )
        log = asyncio.create_task(self._log_lines(process))
        log.add_done_callback(partial(self._log_ended, process))
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            request = {"repository": download.model, "revision": download.revision}
            process.stdin.write(msgspec.json.encode(request) + b"\n")
            async for line in process.stdout:
                message = msgspec.json.decode(line, type=dict[str, Any])
                if "total" in message:
                    download.report(message["done"], message["total"])
                    self._changed()
                elif "commit" in message:
                    return DownloadedModel(
                        download.model,
                        message["commit"],
                        message["bytes"],
                        message["fetched"],
                        download.took(),
                    )
                else:
                    raise _error(message["code"], message["message"])
            raise errors.Unavailable(
                f"The download of {download.model!r} ended without a result. The log says why.",
                code="download_failed",
            )
        finally:
            # It can be killed at any moment: the next download continues partial files.
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            log.cancel()

    async def _log_lines(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        rest = b""
        while chunk := await process.stderr.read(65536):
            *lines, rest = (rest + chunk).split(b"\n")
            rest = rest[-4096:]
            for line in lines:
                self._log.info("download: %s", line[:2000].decode(errors="replace").rstrip())

    def _log_ended(self, process: asyncio.subprocess.Process, task: "asyncio.Task[None]") -> None:
        if task.cancelled() or (error := task.exception()) is None:
            return
        # Nobody reads its pipe any more, so it would block sooner or later.
        self._log.error("Reading a download's log failed.", exc_info=error)
        with contextlib.suppress(ProcessLookupError):
            process.kill()


def _error(code: str, message: str) -> ApiError:
    kind = _ERRORS[code]
    param = "revision" if code == "revision_not_found" else "model"
    passes = kind is errors.Unavailable and code != "cache_not_writable"
    headers = None if passes else {"x-should-retry": "false"}
    return kind(message, param=param, code=code, headers=headers)
