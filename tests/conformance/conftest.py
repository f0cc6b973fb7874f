"""One server for all clients, and no word to anyone outside."""

import os
from collections.abc import Iterator

import pytest

from tests.server.running import RunningServer, running

# LiteLLM would fetch its price list, LangChain would look for its tracing service.
os.environ.update(
    LITELLM_LOCAL_MODEL_COST_MAP="True",
    LANGSMITH_TRACING="false",
    LANGCHAIN_TRACING_V2="false",
    DO_NOT_TRACK="1",
)


@pytest.fixture(scope="session")
def server() -> Iterator[RunningServer]:
    """A Jupyter server as it comes, with the embedded model in memory."""
    with running() as server:
        assert server.works()
        yield server
