"""The smallest valid request of each endpoint, for tests of single parameters."""

import json
from typing import Any

import msgspec

from mlx_notebook.server.wire.anthropic import messages_request
from mlx_notebook.server.wire.cohere import rerank_types
from mlx_notebook.server.wire.decode import decode
from mlx_notebook.server.wire.openai import chat_request, embedding_types, text_completion
from mlx_notebook.server.wire.parameters.parameters import ignored_parameters
from mlx_notebook.server.wire.responses import responses_request

GENERATING = (
    chat_request.ChatCompletionRequest,
    text_completion.CompletionRequest,
    responses_request.ResponsesRequest,
    messages_request.MessagesRequest,
)
DECODERS = {
    chat_request.ChatCompletionRequest: (
        chat_request.DECODER,
        {"messages": [{"role": "user", "content": "Hi"}]},
    ),
    text_completion.CompletionRequest: (text_completion.DECODER, {"prompt": "Hi"}),
    embedding_types.EmbeddingRequest: (embedding_types.DECODER, {"input": "Hi"}),
    rerank_types.RerankRequest: (rerank_types.DECODER, {"query": "Hi", "documents": ["Hi"]}),
    responses_request.ResponsesRequest: (responses_request.DECODER, {"input": "Hi"}),
    messages_request.MessagesRequest: (
        messages_request.DECODER,
        {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9},
    ),
    messages_request.CountTokensRequest: (
        messages_request.COUNT_DECODER,
        {"messages": [{"role": "user", "content": "Hi"}]},
    ),
}


def chat(**parameters: Any) -> chat_request.ChatCompletionRequest:
    """Return a chat completion request that passed all checks."""
    decoder, smallest = DECODERS[chat_request.ChatCompletionRequest]
    request = decode(decoder, json.dumps({**smallest, **parameters}).encode())
    request.check()
    return request


def asked(kind: type[msgspec.Struct], **parameters: Any) -> list[str]:
    """Return the ignored parameters of a request."""
    decoder, smallest = DECODERS[kind]
    body = json.dumps({**smallest, **parameters}).encode()
    return ignored_parameters(body, decode(decoder, body))
