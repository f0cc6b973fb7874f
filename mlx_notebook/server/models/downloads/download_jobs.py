"""Remember downloads by ids, also after their end, for clients that ask how they went."""

import time
from collections import OrderedDict

from mlx_notebook.server.models.downloads.downloads import Download
from mlx_notebook.server.wire.ids import new_id

MOST_JOBS = 100


class DownloadJob:
    """A download that a user has started.

    Attributes
    ----------
    id
        Its id.
    user
        Who started it.
    download
        The download itself.
    started, ended
        When it began and ended, in seconds since 1970; None while it runs.
    """

    def __init__(self, download: Download, user: str) -> None:
        self.id = new_id("job_")
        self.user = user
        self.download = download
        self.started = time.time()
        self.ended: float | None = None
        assert download.task is not None, "the download has begun"
        download.task.add_done_callback(lambda _: self._end())

    def _end(self) -> None:
        self.ended = time.time()


class DownloadJobs:
    """Know the last downloads of all users."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[str, DownloadJob] = OrderedDict()

    def add(self, download: Download, user: str) -> DownloadJob:
        """Return the job of a user for a download, an earlier one if there is one."""
        for job in self._jobs.values():
            if job.download is download and job.user == user:
                return job
        job = DownloadJob(download, user)
        self._jobs[job.id] = job
        while len(self._jobs) > MOST_JOBS:
            self._jobs.popitem(last=False)
        return job

    def of(self, user: str | None) -> list[DownloadJob]:
        """Return the jobs of a user, the oldest first; None for all users."""
        return [job for job in self._jobs.values() if user in (None, job.user)]

    def find(self, id: str, user: str | None) -> DownloadJob | None:
        """Return the job with an id, if it belongs to a user; None for any user."""
        job = self._jobs.get(id)
        return job if job is not None and user in (None, job.user) else None
