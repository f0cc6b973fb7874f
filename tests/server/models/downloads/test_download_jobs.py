import asyncio

from mlx_notebook.server.models.downloads import download_jobs
from mlx_notebook.server.models.downloads.download_jobs import DownloadJobs
from mlx_notebook.server.models.downloads.downloads import Download
from mlx_notebook.server.wire.native.model_types import DownloadedModel

MODEL = DownloadedModel("m", "0", 1, 1, 0.0)


def begun(waits: asyncio.Event) -> Download:
    """A download that lasts until it may end."""
    download = Download("m", None)

    async def run() -> DownloadedModel:
        await waits.wait()
        return MODEL

    download.task = asyncio.create_task(run())
    return download


def test_a_job_is_known_to_its_user_also_after_its_end() -> None:
    asyncio.run(_followed())


async def _followed() -> None:
    jobs, may_end = DownloadJobs(), asyncio.Event()
    download = begun(may_end)
    job = jobs.add(download, "ann")
    assert jobs.add(download, "ann") is job
    other = jobs.add(download, "ben")
    assert jobs.find(job.id, "ann") is jobs.find(job.id, None) is job
    assert jobs.find(job.id, "ben") is None
    assert jobs.of("ann") == [job]
    assert jobs.of(None) == [job, other]
    assert job.ended is None
    may_end.set()
    assert download.task is not None
    await download.task
    await asyncio.sleep(0)
    assert job.ended is not None
    assert jobs.find(job.id, "ann") is job


def test_only_the_last_jobs_are_kept() -> None:
    asyncio.run(_many())


async def _many() -> None:
    jobs, may_end = DownloadJobs(), asyncio.Event()
    may_end.set()
    made = [jobs.add(begun(may_end), "ann") for _ in range(download_jobs.MOST_JOBS + 1)]
    assert jobs.find(made[0].id, "ann") is None
    assert jobs.of("ann") == made[1:]
    await asyncio.gather(*(job.download.task for job in made if job.download.task))
