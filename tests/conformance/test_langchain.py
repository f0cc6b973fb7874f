"""LangChain's standard integration suites for chat models and embeddings, by `langchain-openai`."""

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from langchain_tests.integration_tests import ChatModelIntegrationTests, EmbeddingsIntegrationTests

from tests.server.running import RunningServer

pytestmark = pytest.mark.anyio

# The tests that are skipped or may fail, and why. All others must pass.
SKIPPED = {
    "test_image_inputs": "tiny-chat reads text only",
    "test_image_tool_message": "tiny-chat reads text only",
    "test_pdf_inputs": "no model here reads PDF",
    "test_pdf_tool_message": "no model here reads PDF",
    "test_audio_inputs": "no model here hears",
    "test_anthropic_inputs": "langchain-openai does not turn Anthropic's parts into OpenAI's",
    "test_stream_time": "plays recordings of a hosted server back, and here is none",
}
MAY_FAIL = {
    "test_json_mode": "the model must take the keys from the prompt: nothing enforces them",
    "test_unicode_tool_call_integration": "the model must end a text of free choice in time",
    "test_structured_output_optional_param": "the model must end a text of free choice in time",
}


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module", autouse=True)
async def connections(anyio_backend: str) -> AsyncIterator[openai.DefaultAsyncHttpxClient]:
    """Share connections of all models on one event loop; langchain-openai never closes its own."""
    async with openai.DefaultAsyncHttpxClient() as client:
        yield client


class Here:
    """The address of the server, for a suite whose parameters are properties of its class."""

    where: dict[str, Any]

    @pytest.fixture(autouse=True)
    def _find(
        self,
        request: pytest.FixtureRequest,
        server: RunningServer,
        connections: openai.DefaultAsyncHttpxClient,
    ) -> None:
        self.where = {
            "model": "tiny-chat",
            "base_url": server.openai_url,
            "api_key": server.token,
            "http_async_client": connections,
        }
        name = request.function.__name__
        if name in SKIPPED:
            pytest.skip(SKIPPED[name])
        if name in MAY_FAIL:
            request.node.add_marker(pytest.mark.xfail(reason=MAY_FAIL[name], strict=False))


class TestChatModel(Here, ChatModelIntegrationTests):
    supports_json_mode = True
    supports_model_override = True
    model_override_value = "tiny-chat"

    @property
    def chat_model_class(self) -> type[ChatOpenAI]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {
            **self.where,
            "temperature": 0,
            "max_tokens": 300,
            "stream_usage": True,
            "max_retries": 0,
            # The suite counts calls, and this model makes two if it may.
            "model_kwargs": {"parallel_tool_calls": False},
        }


class TestEmbeddings(Here, EmbeddingsIntegrationTests):
    @property
    def embeddings_class(self) -> type[OpenAIEmbeddings]:
        return OpenAIEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        # Send texts, not the token ids of OpenAI's models.
        return {**self.where, "check_embedding_ctx_length": False, "max_retries": 0}
