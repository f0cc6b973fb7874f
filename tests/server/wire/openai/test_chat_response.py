import json
from typing import Any

from mlx_notebook import protocol
from mlx_notebook.server.wire.openai.chat_response import (
    ChoiceDelta,
    ChunkChoice,
    ChunkEncoder,
    ResponseTimings,
)


def chunk(event: bytes) -> dict[str, Any]:
    assert event.startswith(b"data: ")
    assert event.endswith(b"\n\n")
    decoded: dict[str, Any] = json.loads(event.removeprefix(b"data: "))
    return decoded


def test_text_is_encoded_like_every_other_choice() -> None:
    for include_usage in (False, True):
        encoder = ChunkEncoder("id", 1, "tiny", "fp", include_usage)
        for text in ("Hi", 'a "b"\n', "\u00e9\U0001f600", "?"):
            expected = encoder.choice(ChunkChoice(2, ChoiceDelta(content=text)))
            assert encoder.text(2, text) == expected


def test_usage_and_prompt_tokens_are_only_sent_where_they_are_known() -> None:
    encoder = ChunkEncoder("id", 1, "tiny", "fp", include_usage=True)
    choice = ChunkChoice(0, ChoiceDelta(role="assistant"))
    assert chunk(encoder.choice(choice))["usage"] is None
    full = chunk(encoder.choice(choice, protocol.Usage(3, 1, 2, 0), [5, 6, 7]))
    assert full["prompt_token_ids"] == [5, 6, 7]
    assert full["usage"]["prompt_tokens_details"]["cached_tokens"] == 2
    times = ResponseTimings.of(protocol.Timings(0.1, 0.0, 0.30004, 0.4, 2.0), 0.5)
    last = chunk(encoder.usage(protocol.Usage(3, 4, 2, 0), times))
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == 7
    assert last["timings"] == {"first_token": 0.5, "queued": 0.1, "loading": 0.0, "prefill": 0.3}
    assert "timings" not in full


def test_chunks_say_that_the_answer_could_not_be_stored() -> None:
    encoder = ChunkEncoder("id", 1, "tiny", "fp", include_usage=False)
    choice = ChunkChoice(0, ChoiceDelta(), finish_reason="stop")
    assert "store" not in chunk(encoder.choice(choice))
    encoder.mark_not_stored()
    assert chunk(encoder.choice(choice))["store"] is False
