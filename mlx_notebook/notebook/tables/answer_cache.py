"""Answers by the content of their requests, kept in a file over restarts of the kernel."""

import hashlib
import json
import sqlite3
import time
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
            raise NotebookError(
                f"Answers cannot be kept in {file}: {error}. Name another file with cache=, or use "
                "cache=False."
            ) from None
        self._committed = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._database.execute(
            "DELETE FROM answers WHERE key IN"
            " (SELECT key FROM answers ORDER BY at DESC LIMIT -1 OFFSET ?)",
            (_MOST_ANSWERS,),
        )
        self._database.commit()
        self._database.close()

    @staticmethod
    def key(*content: Any) -> str:
        """Return the key of a request, from everything that its answer depends on."""
        text = json.dumps([_FORMAT, *content], sort_keys=True, ensure_ascii=False, default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    def get(self, key: str) -> dict[str, Any] | None:
        """Return an answer; None if there is none."""
        row = self._database.execute("SELECT answer FROM answers WHERE key = ?", (key,)).fetchone()
        return json.loads(row[0]) if row else None

    def put(self, key: str, answer: dict[str, Any]) -> None:
        """Keep an answer. It is in the file within half a second of the next one."""
        self._database.execute(
            "INSERT OR REPLACE INTO answers VALUES (?, ?, ?)",
            (key, json.dumps(answer, ensure_ascii=False), time.time()),
        )
        if time.monotonic() - self._committed >= _COMMIT_SECONDS:
            self._database.commit()
            self._committed = time.monotonic()
