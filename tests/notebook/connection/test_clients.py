"""OpenAI's clients are set up for the server, and their errors become sentences."""

import httpx2
import openai
import pytest

from mlx_notebook.notebook.connection.clients import client_of, translated_errors
from mlx_notebook.notebook.errors import EngineFailed, ModelNotFound, ServerUnreachable
from mlx_notebook.notebook.server.server import Server

SERVER = Server("http://127.0.0.1:9/", "secret")
REQUEST = httpx2.Request("POST", "http://127.0.0.1:9/v1/chat/completions")


def test_a_client_has_the_address_and_the_token_and_options_win():
    client = client_of(SERVER)
    assert (str(client.base_url), client.api_key) == ("http://127.0.0.1:9/v1/", "secret")
    assert client_of(SERVER, api_key="other", timeout=3).api_key == "other"


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (openai.APITimeoutError(REQUEST), ServerUnreachable, "did not answer in time"),
        (openai.APIConnectionError(request=REQUEST), ServerUnreachable, "was lost"),
        (openai.APIError("out of luck", REQUEST, body=None), EngineFailed, "^out of luck$"),
        (
            openai.NotFoundError(
                "none",
                response=httpx2.Response(404, request=REQUEST),
                body={"message": "There is no model x.", "code": "model_not_found"},
            ),
            ModelNotFound,
            "^There is no model x.$",
        ),
    ],
)
def test_errors_of_the_client_are_translated(error, kind, message):
    with pytest.raises(kind, match=message), translated_errors(SERVER):
        raise error
