"""The server's own times, which may come from a recording and hold anything."""

import pytest

from mlx_notebook.notebook.answers.answer import Answer, Reply
from mlx_notebook.notebook.answers.server_times import ServerTimes

SENT = {"first_token": 1.5, "queued": 0.2, "loading": 0, "prefill": 1.3}


@pytest.mark.parametrize(
    ("changed", "described"),
    [
        ({}, "1.5 s model (queue 0.2, prompt 1.3)"),
        ({"first_token": 5.5, "loading": 2}, "5.5 s model (server 2.0, queue 0.2, load 2.0, "),
        ({"first_token": 0.02, "queued": 0.001, "prefill": 0.01}, "0.0 s model"),
    ],
)
def test_parts_that_took_no_time_are_left_out(changed, described):
    times = ServerTimes.of({**SENT, **changed})
    assert times is not None
    assert times.describe().startswith(described)


@pytest.mark.parametrize(
    "sent",
    [None, [], "x", {}, {**SENT, "queued": "1"}, {**SENT, "queued": -1}, {**SENT, "queued": 1e999}],
)
def test_what_is_not_usable_is_left_out(sent):
    assert ServerTimes.of(sent) is None


def answered(first_token, *, crosses_network):
    reply = Reply(first_token=first_token, server_times=ServerTimes.of(SENT))
    return Answer("m", replies=[reply], crosses_network=crosses_network)


def test_a_remote_answer_names_the_network_and_a_slow_local_one_the_model():
    model = "1.5 s model (queue 0.2, prompt 1.3)"
    remote = answered(1.8, crosses_network=True)
    assert remote.network_seconds == pytest.approx(0.3)
    assert remote.first_token_summary() == f"first token after 1.80 s: 0.3 s network, {model}"
    local = answered(1.8, crosses_network=False)
    assert local.first_token_summary() == f"first token after 1.80 s: {model}"
    quick = answered(0.4, crosses_network=False)
    assert quick.first_token_summary() == "first token after 0.40 s"
    assert quick.network_seconds == 0.0
    assert Answer("m").first_token_summary() == ""
