"""Handle LM Studio's `api/v1/models/download` and its status."""

from datetime import UTC, datetime

from jupyter_server.auth.decorator import authorized
from tornado import web

from mlx_notebook.server.api.lmstudio.lmstudio_handler import LmStudioHandler
from mlx_notebook.server.api.user_rules import check_permission
from mlx_notebook.server.errors import ApiError, NotFound
from mlx_notebook.server.identity import owner
from mlx_notebook.server.models.downloads.download_jobs import DownloadJob
from mlx_notebook.server.wire.lmstudio import lmstudio_model_types as wire
from mlx_notebook.server.wire.lmstudio.lmstudio_chat_answer import LmStudioError
from mlx_notebook.server.wire.parameters.parameters import unsupported_parameter


def described(job: DownloadJob) -> wire.LmStudioDownload:
    """Return a download as LM Studio describes it."""
    download = job.download
    answer = wire.LmStudioDownload(
        status="downloading",
        job_id=job.id,
        downloaded_bytes=download.done,
        total_size_bytes=download.total or 0,
        started_at=_moment(job.started),
    )
    if job.ended is None:
        progress = download.progress
        left, total = progress.seconds_left, download.total
        answer.bytes_per_second = 0.0
        if left and total is not None:
            answer.bytes_per_second = round((total - download.done) / left, 1)
            answer.estimated_completion = _moment(datetime.now(UTC).timestamp() + left)
        return answer
    try:
        _ = download.answer
    except ApiError as error:
        answer.status, answer.error = "failed", LmStudioError.of(error)
    else:
        answer.status, answer.completed_at = "completed", _moment(job.ended)
    return answer


def _moment(seconds: float) -> str:
    """Return a time as LM Studio writes it, in UTC."""
    when = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return when.replace("+00:00", "Z")


class LmStudioDownloadHandler(LmStudioHandler):
    """Download a model from Hugging Face."""

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Begin to download it, unless it is here, and answer at once."""
        request = self.decoded(wire.DOWNLOAD_DECODER)
        if request.quantization is not None:
            raise unsupported_parameter(
                "quantization", "name the repository that has the model in this form"
            )
        await self.services.catalog.default()
        model = self.services.catalog.canonical(request.name)
        try:
            await self.services.catalog.find(model, await self.settings_user())
        except NotFound as error:
            if error.code not in ("model_not_found", "model_incomplete"):
                raise
        else:
            check_permission(self, "use", model)
            self.answer(wire.LmStudioDownload(status="already_downloaded"))
            return
        check_permission(self, "download", model)
        self.check_download(model)
        user = await owner(self)
        download = self.services.download(model, None, user)
        download.detached = True
        self.answer(described(self.services.download_jobs.add(download, user)))


class LmStudioDownloadsHandler(LmStudioHandler):
    """List the downloads that the user has started here."""

    _track_activity = False

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Answer with them."""
        jobs = self.services.download_jobs.of(await self.visible_owner())
        downloads = [described(job) for job in jobs]
        running, completed, failed = (
            [each for each in downloads if each.status == status]
            for status in ("downloading", "completed", "failed")
        )
        self.answer(wire.LmStudioDownloads(running, completed, failed, []))


class LmStudioDownloadStatusHandler(LmStudioHandler):
    """Tell how a download is going."""

    _track_activity = False

    @web.authenticated
    @authorized
    async def get(self, id: str) -> None:
        """Answer with its state."""
        job = self.services.download_jobs.find(id, await self.visible_owner())
        if job is None:
            raise NotFound(
                f"There is no download {id[:100]!r}. The server remembers the last ones only.",
                param="job_id",
                code="job_not_found",
            )
        self.answer(described(job))
