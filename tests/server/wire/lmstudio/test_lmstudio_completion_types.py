import msgspec
import pytest

from mlx_notebook import protocol
from mlx_notebook.server.wire.lmstudio.lmstudio_completion_types import (
    CHAT_COMPLETION_DECODER,
    COMPLETION_DECODER,
    LmStudioStats,
    without_limit,
)

DONE = protocol.Done("x", protocol.Usage(12, 5, 0, 2), protocol.Timings(0.5, 1.5, 0.25, 2.0, 0.5))


def test_a_limit_of_minus_one_is_none() -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": -1}
    chat = without_limit(CHAT_COMPLETION_DECODER.decode(msgspec.json.encode(body)))
    assert chat.sampling().max_tokens == 2**31 - 1
    text = COMPLETION_DECODER.decode(b'{"prompt": "Hi", "max_tokens": -1}')
    assert without_limit(text).sampling().max_tokens == 2**31 - 1
    short = COMPLETION_DECODER.decode(b'{"prompt": "Hi", "max_tokens": 3}')
    assert without_limit(short).sampling().max_tokens == 3


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (protocol.Finished("x", 0, "stop"), "eosFound"),
        (protocol.Finished("x", 0, "stop", "\n"), "stopStringFound"),
        (protocol.Finished("x", 0, "length"), "maxPredictedTokensReached"),
        (protocol.Finished("x", 0, "tool_calls"), "toolCalls"),
    ],
)
def test_statistics_tell_speed_and_why_it_stopped(row: protocol.Finished, reason: str) -> None:
    stats = LmStudioStats.of([DONE], [row])
    assert (stats.tokens_per_second, stats.time_to_first_token) == (10.0, 2.0)
    assert (stats.generation_time, stats.stop_reason) == (0.5, reason)


def test_prompts_that_run_together_have_their_speed_together() -> None:
    assert LmStudioStats.of([DONE, DONE], []).tokens_per_second == 20.0
