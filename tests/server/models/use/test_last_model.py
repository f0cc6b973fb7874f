import asyncio
import json
import logging
import stat
from pathlib import Path

import pytest

from mlx_notebook.server.models.use.last_model import LastModel

LOG = logging.getLogger("test")


def noted(file: Path, *notes: tuple[str, str]) -> LastModel:
    """The last models after some notes of a model and a user, with all files written."""

    async def story() -> LastModel:
        last = LastModel(file, LOG)
        for note in notes:
            last.note(*note)
        await asyncio.gather(*last._tasks)
        return last

    return asyncio.run(story())


def test_each_user_has_one_and_a_new_server_knows_them(tmp_path: Path) -> None:
    file = tmp_path / "last_model"
    noted(file, ("a", "owner"), ("b", "user:ann"), ("c", "user:bob"), ("d", "user:ann"))
    again = LastModel(file, LOG)
    assert [again.name(user) for user in ("owner", "user:ann", "user:bob")] == ["a", "d", "c"]
    assert again.name("user:cem") is None
    assert file.read_text() == "a"
    assert json.loads((tmp_path / "last_models.json").read_text()).keys() == {
        "user:ann",
        "user:bob",
    }
    for written in tmp_path.iterdir():
        assert stat.S_IMODE(written.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [b"", b"[1]", b"\xff\xfe", b'{"user:ann": 3}'])
def test_a_file_that_is_not_ours_is_the_same_as_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "last_models.json").write_bytes(content)
    assert LastModel(tmp_path / "last_model", LOG).name("user:ann") is None


def test_users_beyond_a_bound_are_forgotten_the_oldest_first(tmp_path: Path) -> None:
    users = [(f"model-{number}", f"user:{number}") for number in range(1010)]
    last = noted(tmp_path / "last_model", *users)
    assert last.name("user:0") is None
    assert last.name("user:1009") == "model-1009"
    assert len(json.loads((tmp_path / "last_models.json").read_text())) == 1000


def test_a_folder_that_cannot_be_written_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    last = noted(tmp_path / "file" / "last_model", ("a", "user:ann"))
    assert last.name("user:ann") == "a"
    assert "could not be saved" in caplog.text
