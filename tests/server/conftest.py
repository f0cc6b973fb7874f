"""Servers that tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.running import RunningServer, running
from tests.tiny_models.embedders import embedder
from tests.tiny_models.models import qwen3
from tests.tiny_models.rerankers import cross_encoder, yes_no_reranker


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with random models.

    `short` and `long` by their context, `org/other`, two that embed: `words`, `org/embedding`, and
    two that rank: `ranker`, `org/Qwen3-Reranker-tiny`. `renamed` is the last one without its name.
    """
    folder = tmp_path_factory.mktemp("models")
    qwen3(folder / "short", context=64)
    qwen3(folder / "long", context=32768)
    qwen3(folder / "org" / "other", seed=1)
    embedder(folder / "words", "bert", pooling="cls_token", limit=24)
    embedder(folder / "org" / "embedding", "qwen3", pooling="lasttoken")
    cross_encoder(folder / "ranker", "bert")
    yes_no_reranker(folder / "org" / "Qwen3-Reranker-tiny")
    yes_no_reranker(folder / "renamed")
    return folder


@pytest.fixture(scope="session")
def server(models_dir: Path) -> Iterator[RunningServer]:
    """A Jupyter server with small limits, that tests leave working."""
    with running(
        config={
            "MlxNotebookApp": {
                "models_dirs": [str(models_dir)],
                "model_aliases": {"alias": "org/other"},
                "queue_limit": 8,
                "max_batch": 8,
                "max_messages": 1000,
                "max_body_bytes": 8 * 1024 * 1024,
                "max_file_bytes": 1024 * 1024,
            }
        }
    ) as server:
        yield server
