"""Operations that ask a model."""

from mlx_notebook.server.api.openapi.operation import MODEL_ERRORS, Operation
from mlx_notebook.server.wire.anthropic import (
    message_response,
    messages_request,
)
from mlx_notebook.server.wire.audio import speech_types, transcription_types
from mlx_notebook.server.wire.cohere import rerank_types
from mlx_notebook.server.wire.openai import (
    chat_request,
    chat_response,
    embedding_types,
    text_completion,
)
from mlx_notebook.server.wire.responses import (
    compaction,
    response_events,
    response_object,
    responses_request,
)

_TRANSCRIPTS = ("text/plain", "application/x-subrip", "text/vtt")
MODEL_OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "post",
        "/v1/chat/completions",
        "Continue a chat, complete or streamed",
        MODEL_ERRORS,
        chat_response.ChatCompletion,
        chat_request.ChatCompletionRequest,
        chat_response.ChatCompletionChunk,
    ),
    Operation(
        "post",
        "/v1/completions",
        "Continue a text, complete or streamed",
        MODEL_ERRORS,
        text_completion.TextCompletion,
        text_completion.CompletionRequest,
        text_completion.TextCompletion,
    ),
    Operation(
        "post",
        "/v1/embeddings",
        "Embed texts as vectors",
        MODEL_ERRORS,
        embedding_types.EmbeddingList,
        embedding_types.EmbeddingRequest,
    ),
    *(
        Operation(
            "post",
            f"/{version}/rerank",
            "Rank documents by their relevance to a query (Cohere's and Jina's API)",
            MODEL_ERRORS,
            rerank_types.RankedDocuments,
            rerank_types.RerankRequest,
        )
        for version in ("v1", "v2")
    ),
    Operation(
        "post",
        "/v1/audio/speech",
        "Read a text aloud",
        MODEL_ERRORS,
        body=speech_types.SpeechRequest,
        media="audio/mpeg",
        others=("audio/ogg", "audio/flac", "audio/wav", "audio/pcm"),
    ),
    Operation(
        "post",
        "/v1/audio/transcriptions",
        "Write down what is spoken, complete or streamed",
        MODEL_ERRORS,
        (transcription_types.Transcript, transcription_types.VerboseTranscript),
        transcription_types.TranscriptionForm,
        transcription_types.TranscriptEvent,
        form=True,
        others=_TRANSCRIPTS,
    ),
    Operation(
        "post",
        "/v1/audio/translations",
        "Write down in English what is spoken",
        MODEL_ERRORS,
        (transcription_types.Transcript, transcription_types.VerboseTranscript),
        transcription_types.TranslationForm,
        form=True,
        others=_TRANSCRIPTS,
    ),
    Operation(
        "post",
        "/v1/responses",
        "Create a response: complete, streamed or in the background",
        (*MODEL_ERRORS, 409),
        response_object.Response,
        responses_request.ResponsesRequest,
        response_events.ResponseStreamEvent,
    ),
    Operation(
        "post",
        "/v1/responses/input_tokens",
        "Count the tokens of a response's input",
        MODEL_ERRORS,
        response_object.InputTokens,
        responses_request.ResponsesRequest,
    ),
    Operation(
        "post",
        "/v1/responses/compact",
        "Replace what the model has said in a conversation by a summary",
        MODEL_ERRORS,
        compaction.CompactedResponse,
        compaction.CompactRequest,
    ),
    Operation(
        "post",
        "/v1/messages",
        "Continue a conversation (Anthropic's API), complete or streamed",
        MODEL_ERRORS,
        message_response.MessageResponse,
        messages_request.MessagesRequest,
        message_response.MessageEvent,
        message_response.MessageError,
    ),
    Operation(
        "post",
        "/v1/messages/count_tokens",
        "Count a conversation's tokens (Anthropic's API)",
        MODEL_ERRORS,
        message_response.MessageTokensCount,
        messages_request.CountTokensRequest,
        failure=message_response.MessageError,
    ),
)
