import json
import math

import pytest

from mlx_notebook.server.errors import InvalidRequest
from mlx_notebook.server.wire.decode import decode
from mlx_notebook.server.wire.ollama.ollama_options import OllamaOptions, keep_seconds
from mlx_notebook.server.wire.ollama.ollama_requests import CHAT_DECODER
from mlx_notebook.server.wire.parameters.parameters import ignored_parameters


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        (None, None),
        ("", None),
        (0, 0),
        ("0", 0),
        ("0s", 0),
        (300, 300),
        ("300", 300),
        ("5m", 300),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("100ms", 0.1),
        (-1, math.inf),
        ("-1", math.inf),
        ("-1m", math.inf),
    ],
)
def test_a_time_is_a_number_of_seconds_or_a_duration(
    given: str | int | None, seconds: float | None
) -> None:
    assert keep_seconds(given) == seconds


@pytest.mark.parametrize("given", ["soon", "m5", "5mm", "5 m", "9" * 65 + "m", "1h-5m", "-"])
def test_what_is_no_time_is_refused_by_name(given: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        keep_seconds(given)
    assert refused.value.param == "keep_alive"


def test_options_are_sampling_parameters() -> None:
    sampling = OllamaOptions(
        seed=7, num_predict=9, top_k=0, repeat_penalty=1.2, repeat_last_n=64, stop=["a"]
    ).sampling()
    assert (sampling.seed, sampling.max_tokens, sampling.top_k) == (7, 9, 0)
    assert (sampling.repetition_penalty, sampling.repeat_last_n) == (1.2, 64)
    assert sampling.stop == ["a"]


@pytest.mark.parametrize("given", [-2, -1, 0])
def test_an_answer_without_a_limit_may_fill_the_context(given: int) -> None:
    assert OllamaOptions(num_predict=given).sampling().max_tokens == 2**31 - 1


def test_without_a_limit_of_its_own_a_request_has_that_of_the_server() -> None:
    assert OllamaOptions().sampling().max_tokens is None


def test_no_token_counts_for_the_penalties_if_none_is_looked_at() -> None:
    options = OllamaOptions(repeat_last_n=0, repeat_penalty=1.3, presence_penalty=1)
    sampling = options.sampling()
    assert (sampling.repetition_penalty, sampling.presence_penalty) == (1.0, 0.0)


def ignored(**options: object) -> list[str]:
    body = json.dumps({"model": "m", "messages": [], "options": options}).encode()
    return ignored_parameters(body, decode(CHAT_DECODER, body))


def test_options_about_running_a_model_are_ignored_and_said() -> None:
    assert ignored(num_ctx=4096, num_gpu=1, temperature=0.5) == [
        "options.num_ctx",
        "options.num_gpu",
    ]
    assert ignored(nonesuch=1) == ["options.nonesuch"]


def test_samplers_that_are_not_here_are_refused_unless_they_are_off() -> None:
    assert ignored(mirostat=0, tfs_z=1.0) == ["options.mirostat", "options.tfs_z"]
    for name in ("mirostat", "tfs_z"):
        with pytest.raises(InvalidRequest) as refused:
            ignored(**{name: 2})
        assert refused.value.param == name
