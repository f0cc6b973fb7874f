"""The comparison of a request alone and in a batch reports its progress."""

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.determinism import compare
from benchmarks.harness.client import Reply
from benchmarks.harness.load import Request
from mlx_notebook.server.models.catalog import EMBEDDED_DEFAULT

TINY = Path(__file__).parents[2] / "mlx_notebook" / "demo_models" / EMBEDDED_DEFAULT


def test_each_request_is_shown_on_the_screen(capsys: pytest.CaptureFixture[str]) -> None:
    class Fickle:
        """Gives the same answer until other requests run."""

        asked = 0

        async def ask(self, request: Request) -> Reply:
            self.asked += 1
            # Alone, alone again, then two at once.
            text = "abcd" if self.asked % 4 in (1, 2) else "abXX"
            body = json.dumps({"choices": [{"message": {"content": text}}]}).encode()
            return Reply(200, body, 0.0, None, 1.0, complete=True)

    live: Any = SimpleNamespace(server=Fickle())
    figures = asyncio.run(compare(live, TINY, "greedy", requests=2, others=1, tokens=10))
    assert figures["alone again"]["different"] == 0
    assert figures["beside 1 others"]["different"] == 2
    shown = capsys.readouterr().err.splitlines()
    assert shown == ["greedy: request 1 of 2", "greedy: request 2 of 2"]
