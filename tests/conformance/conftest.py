"""One server for all clients, without access to the network."""

import os
from collections.abc import Iterator

import pytest

from tests.server.running import RunningServer, running

# Otherwise LiteLLM fetches its price list, and LangChain looks for its tracing service.
os.environ.update(
    LITELLM_LOCAL_MODEL_COST_MAP="True",
    LANGSMITH_TRACING="false",
    LANGCHAIN_TRACING_V2="false",
    DO_NOT_TRACK="1",
)


@pytest.fixture(scope="session")
def server() -> Iterator[RunningServer]:
    """Start a Jupyter server with default settings and the embedded model in memory."""
    with running() as server:
        assert server.works()
        yield server
