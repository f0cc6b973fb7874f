"""Answers by the content of their requests, kept in a file over restarts of the kernel."""

import hashlib
import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any, Self

from jupyter_core.paths import jupyter_data_dir

from mlx_notebook.notebook.errors import NotebookError

_FORMAT = 1
_COMMIT_SECONDS = 0.5
_MOST_ANSWERS = 1_000_000
"""The oldest answers beyond these are deleted."""


def default_file() -> Path:
    """Return the file that is used if the notebook names none."""
    return Path(jupyter_data_dir()) / "mlx_notebook" / "answers.sqlite"


class AnswerCache:
    """Answers in an SQLite file that only this user may read. Use it in one thread.

    Parameters
    ----------
    file
        The file. Several kernels may use it at the same time.

    Raises
    ------
    NotebookError
        If the file cannot be used.
    """

    def __init__(self, file: Path) -> None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch(mode=0o600)
            self._database = sqlite3.connect(file, timeout=30)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=NORMAL")
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS answers"
                " (key TEXT PRIMARY KEY, answer TEXT NOT NULL, at REAL NOT NULL)"
            )
        except (OSError, sqlite3.Error) as error:
            raise _unusable(file, error) from None
        self._file = file
        self._committed = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        with closing(self._database):
            self._execute(
                "DELETE FROM answers WHERE key IN"
                " (SELECT key FROM answers ORDER BY at DESC LIMIT -1 OFFSET ?)",
                (_MOST_ANSWERS,),
            )
            self._commit()

    @staticmethod
    def key(*content: Any) -> str:
        """Return the key of a request, from everything that its answer depends on."""
        text = json.dumps([_FORMAT, *content], sort_keys=True, ensure_ascii=False, default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    def get(self, key: str) -> dict[str, Any] | None:
        """Return an answer; None if there is none."""
        row = self._execute("SELECT answer FROM answers WHERE key = ?", (key,)).fetchone()
        return json.loads(row[0]) if row else None

    def put(self, key: str, answer: dict[str, Any]) -> None:
        """Keep an answer. It is in the file half a second later, with the next one.

        Raises
        ------
        NotebookError
            If it cannot be written, because the disk is full for example.
        """
        self._execute(
            "INSERT OR REPLACE INTO answers VALUES (?, ?, ?)",
            (key, json.dumps(answer, ensure_ascii=False), time.time()),
        )
        if time.monotonic() - self._committed >= _COMMIT_SECONDS:
            self._commit()

    def _execute(self, statement: str, values: tuple[Any, ...]) -> sqlite3.Cursor:
        try:
            return self._database.execute(statement, values)
        except sqlite3.Error as error:
            raise _unusable(self._file, error) from None

    def _commit(self) -> None:
        try:
            self._database.commit()
        except sqlite3.Error as error:
            raise _unusable(self._file, error) from None
        self._committed = time.monotonic()


def _unusable(file: Path, error: Exception) -> NotebookError:
    return NotebookError(
        f"Answers cannot be kept in {file}: {error}. Name another file with cache=, or use "
        "cache=False."
    )
