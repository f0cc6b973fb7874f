"""Failures of the server's own while it downloads: each ends the download, and is logged."""

import logging
from pathlib import Path
from typing import Any

import anyio
import pytest

from mlx_notebook.server.errors import Unavailable
from mlx_notebook.server.models.downloads import downloads
from mlx_notebook.server.models.downloads.downloads import Download, Downloads
from mlx_notebook.server.wire.native.model_types import DownloadedModel

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def fail(*_: Any) -> None:
    raise RuntimeError("it failed")


async def fail_later(*_: Any) -> None:
    fail()


async def result(monkeypatch: pytest.MonkeyPatch, **callbacks: Any) -> DownloadedModel:
    """Download something and wait for its end."""
    monkeypatch.setattr(
        downloads, "_MODULE", (str(Path(__file__).parents[2] / "stand_ins" / "fake_fetch.py"),)
    )

    async def arrived(download: Download, answer: DownloadedModel) -> None:
        pass

    started = {"changed": lambda: None, "ended": lambda: None, "arrived": arrived, **callbacks}
    every = Downloads(env={}, log=logging.getLogger("test"), **started)
    download = every.start("model")
    with anyio.fail_after(30):
        await download.wait()
    assert not every.current
    return download.answer


async def test_one_that_says_much_comes_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await result(monkeypatch)).bytes == 2


@pytest.mark.parametrize("where", ["arrived", "log"])
async def test_one_on_which_the_server_fails_ends_with_503(
    where: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    callbacks = {"arrived": fail_later} if where == "arrived" else {}
    if where == "log":
        monkeypatch.setattr(Downloads, "_log_lines", fail_later)
    with pytest.raises(Unavailable):
        await result(monkeypatch, **callbacks)
    assert "RuntimeError: it failed" in caplog.text


async def test_its_end_is_told_though_noting_it_fails(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert (await result(monkeypatch, ended=fail)).bytes == 2
    assert "RuntimeError: it failed" in caplog.text
