"""Messages between ranks, and what each side notices of the other. The others are processes."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest
import zmq

from mlx_notebook.engine.distributed import rank_channel
from mlx_notebook.engine.distributed.rank_channel import FollowerChannel, LeaderChannel
from mlx_notebook.protocol import DistributedConfig

SECRET = b"of this test"
TIMEOUT = 20


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"


class Leader:
    """Rank 0 in this process, and what it has said of lost ranks."""

    def __init__(self, ranks: int = 2) -> None:
        self.config = DistributedConfig(
            hosts=tuple(f"host{rank}" for rank in range(ranks)),
            address=free_address(),
            watch_address=free_address(),
        )
        self.said: list[str] = []
        self._lost = threading.Event()
        self.channel = LeaderChannel(self.config, SECRET, self._is_lost)

    def _is_lost(self, reason: str) -> None:
        self.said.append(reason)
        self._lost.set()

    def lost(self) -> str:
        """Wait until a rank is lost; returns what was said."""
        assert self._lost.wait(TIMEOUT)
        return self.said[0]

    @contextmanager
    def other(self, rank: int, does: str = "answers") -> Iterator["subprocess.Popen[str]"]:
        """Another rank, in a process that runs this file."""
        process = subprocess.Popen(
            [sys.executable, __file__, msgspec.json.encode(self.config), str(rank), does],
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()


@pytest.fixture
def leader() -> Iterator[Leader]:
    leader = Leader()
    yield leader
    leader.channel.close()


def other_rank(config: DistributedConfig, rank: int, does: str) -> None:
    """Be another rank: answer all messages with their own text and the rank."""
    channel = FollowerChannel(config, rank, SECRET)
    channel.memory = lambda: (rank, 10 * rank)
    channel.waited_seconds = 0.5
    if does == "fails":
        channel.fail("ValueError: no such luck")
    while True:
        message = channel.receive(1.0)
        if message == b"be busy":
            # One long call that holds Python's lock, so that no other thread of Python runs.
            ctypes.PyDLL(None).usleep(2_500_000)
        if message is not None:
            channel.reply(message + b" %d" % rank)


def replies(leader: Leader, count: int) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    while len(found) < count:
        came = leader.channel.replies(TIMEOUT)
        assert came
        found += came
    return found


def test_messages_reach_all_ranks_in_order() -> None:
    leader = Leader(ranks=3)
    with leader.other(1), leader.other(2):
        leader.channel.wait_for_ranks()
        for number in range(500):
            leader.channel.send(b"%d" % number)
        came = replies(leader, 1000)
        for rank in (1, 2):
            expected = [b"%d %d" % (number, rank) for number in range(500)]
            assert [message for sender, message in came if sender == rank] == expected
        leader.channel.close()
    assert not leader.said


def test_an_end_in_good_order_ends_the_other_rank(leader: Leader) -> None:
    with leader.other(1) as other:
        leader.channel.wait_for_ranks()
        leader.channel.send(b"hello")
        assert replies(leader, 1) == [(1, b"hello 1")]
        leader.channel.close()
        assert other.wait(TIMEOUT) == 0
    assert not leader.said


def test_the_status_of_all_ranks_is_known(leader: Leader) -> None:
    with leader.other(1) as other:
        leader.channel.wait_for_ranks()
        leader.channel.send(b"hello")
        replies(leader, 1)
        until = threading.Event()
        while (status := leader.channel.statuses()[1]).waited_seconds == 0.0:
            until.wait(0.05)
        assert (status.rank, status.host, status.pid) == (1, "host1", other.pid)
        assert (status.active_bytes, status.peak_bytes) == (1, 10)
        own = leader.channel.statuses()[0]
        assert (own.rank, own.host, own.pid) == (0, "host0", os.getpid())


def test_a_killed_rank_is_said_to_have_ended(leader: Leader) -> None:
    with leader.other(1) as other:
        leader.channel.wait_for_ranks()
        leader.channel.send(b"hello")
        replies(leader, 1)
        other.kill()
        assert leader.lost() == "rank 1 on host1 ended"


def test_a_stopped_rank_is_said_not_to_answer(leader: Leader) -> None:
    with leader.other(1) as other:
        leader.channel.wait_for_ranks()
        leader.channel.send(b"hello")
        replies(leader, 1)
        other.send_signal(signal.SIGSTOP)
        assert leader.lost() == "rank 1 on host1 does not answer"


def test_a_rank_that_fails_says_why(leader: Leader) -> None:
    with leader.other(1, "fails"):
        assert leader.lost() == "rank 1 on host1 failed: ValueError: no such luck"


def test_a_failure_of_rank_0_is_said(leader: Leader) -> None:
    leader.channel.fail("ValueError: no such luck")
    assert leader.lost() == "rank 0 on host0 failed: ValueError: no such luck"


def test_a_failure_that_follows_from_the_loss_of_a_rank_is_said_as_its_loss(leader: Leader) -> None:
    with leader.other(1) as other:
        leader.channel.wait_for_ranks()
        other.kill()
        leader.channel.fail("RuntimeError: connection to a peer was lost")
        assert leader.lost().startswith("rank 1 on host1 ")


def test_a_busy_rank_is_not_lost(leader: Leader) -> None:
    with leader.other(1):
        leader.channel.wait_for_ranks()
        leader.channel.send(b"be busy")
        assert replies(leader, 1) == [(1, b"be busy 1")]
    assert not leader.said


def test_a_rank_whose_leader_is_killed_ends() -> None:
    leader = Leader()
    script = (
        "import sys, msgspec\n"
        "from mlx_notebook.engine.distributed.rank_channel import LeaderChannel\n"
        "from mlx_notebook.protocol import DistributedConfig\n"
        "config = msgspec.json.decode(sys.argv[1], type=DistributedConfig)\n"
        "LeaderChannel(config, sys.argv[2].encode()).wait_for_ranks()\n"
        "print('connected', flush=True)\n"
        "sys.stdin.read()\n"
    )
    leader.channel.close()
    leader.config = msgspec.structs.replace(
        leader.config, address=free_address(), watch_address=free_address()
    )
    with (
        subprocess.Popen(
            [sys.executable, "-c", script, msgspec.json.encode(leader.config), SECRET],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as rank_0,
        leader.other(1) as other,
    ):
        assert rank_0.stdout is not None
        assert rank_0.stdout.readline() == b"connected\n"
        rank_0.kill()
        assert other.wait(TIMEOUT) == 1
        assert other.stderr is not None
        assert other.stderr.read().startswith("rank 0 on host0 ")


@pytest.mark.parametrize("knows", ["nothing", "the public key of rank 0"])
def test_nobody_is_heard_without_the_secret(leader: Leader, knows: str) -> None:
    with zmq.Context() as context, context.socket(zmq.DEALER) as stranger:
        stranger.linger = 0
        stranger.routing_id = b"1"
        if knows != "nothing":
            stranger.curve_serverkey = rank_channel._keys(SECRET, b"leader")[0]
            stranger.curve_publickey, stranger.curve_secretkey = zmq.curve_keypair()
        events = stranger.get_monitor_socket(
            zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_FAILED_AUTH
        )
        stranger.connect(leader.config.address)
        stranger.send(b"hello")
        assert events.poll(TIMEOUT * 1000)
        event = int.from_bytes(events.recv_multipart()[0][:2], sys.byteorder)
        assert event != zmq.EVENT_HANDSHAKE_SUCCEEDED
        assert leader.channel.replies(0.3) == []
        events.close()
    # The ranks themselves are still served.
    with leader.other(1):
        leader.channel.wait_for_ranks()


if __name__ == "__main__":
    other_rank(
        msgspec.json.decode(sys.argv[1], type=DistributedConfig), int(sys.argv[2]), sys.argv[3]
    )
