"""Rank 0's side of a distributed engine: it tells the other ranks what to call."""

import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import msgspec

from mlx_notebook.engine.distributed.messages import Begin, Call, Drop, LoadEnded, Message
from mlx_notebook.engine.distributed.rank_channel import LeaderChannel
from mlx_notebook.engine.distributed.rank_group import RankGroup
from mlx_notebook.engine.distributed.sharding import (
    choose_division,
    describe_files,
    keep_part,
)
from mlx_notebook.engine.errors import LoadFailed
from mlx_notebook.engine.kv_cache.row_cache import RowCache, Twin
from mlx_notebook.protocol import ModelOptions, RankStatus


class Leader:
    """Tells the other ranks what to load and to call. Use it in the thread that owns MLX.

    Parameters
    ----------
    group
        All ranks.
    channel
        To the other ranks.
    hosts
        The host of each rank, for messages.
    memory
        Bytes that each rank may use.
    """

    def __init__(
        self,
        group: mx.distributed.Group,
        channel: LeaderChannel,
        hosts: Sequence[str],
        memory: int,
    ):
        self.ranks, self.hosts, self.memory = RankGroup(group), list(hosts), memory
        self._channel = channel
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(LoadEnded)
        self._numbers = 0
        # Objects die in any thread, which may append here.
        self._dropped: deque[int] = deque()
        self._loads: dict[int, dict[int, str | None]] = {}

    @property
    def statuses(self) -> list[RankStatus]:
        """What each rank has told of itself, in their order."""
        self._channel.waited_seconds = self.ranks.waited_seconds
        return self._channel.statuses()

    def fail(self, error: Exception) -> None:
        """End all ranks: after an error while computing nobody knows what each has done."""
        self._channel.fail(f"{type(error).__name__}: {error}")

    def divide(
        self, name: str, path: Path, options: ModelOptions, model: Any, config: dict[str, Any]
    ) -> "RemoteModel":
        """Reduce a model, whose weights are not read, to this rank's part; let others load theirs.

        Raises
        ------
        LoadFailed
            If the model cannot be divided among the ranks.
        """
        division = choose_division(name, model, config, options, self.ranks.size)
        number = self.number()
        self._loads[number] = {}
        self.send(Begin(number, name, _portable(path), options, division, describe_files(path)))
        keep_part(model, division, self.ranks.group)
        return RemoteModel(self, number, name)

    def loaded(self, model: int) -> dict[int, str | None]:
        """Return the ranks that have ended a load, each with its error, if it has one."""
        for rank, reply in self._channel.replies():
            ended = self._decoder.decode(reply)
            if ended.model in self._loads:
                self._loads[ended.model][rank] = ended.error
        return self._loads[model]

    def forget_load(self, model: int) -> None:
        """Forget the answers to a load."""
        self._loads.pop(model, None)

    def number(self) -> int:
        """Return the number of a new object."""
        self._numbers += 1
        return self._numbers

    def drop(self, number: int) -> None:
        """Let the other ranks forget an object, with the next message. Any thread may call it."""
        self._dropped.append(number)

    def flush(self) -> None:
        """Tell the other ranks which objects nobody uses any more, if there are any."""
        if self._dropped:
            self.send(Drop(self._take_dropped()))

    def call(
        self, function: str, model: int, objects: Sequence[int], numbers: Iterable[int]
    ) -> int:
        """Let the other ranks call a function; return the number of its result."""
        result = self.number()
        dropped = self._take_dropped()
        self.send(Call(function, model, list(objects), list(map(int, numbers)), result, dropped))
        return result

    def send(self, message: Message) -> None:
        """Send a message to the other ranks."""
        self._channel.send(self._encoder.encode(message))

    def _take_dropped(self) -> list[int]:
        return [self._dropped.popleft() for _ in range(len(self._dropped))]


class RemoteObject(Twin):
    """An object on the other ranks. They forget it when this object dies.

    Parameters
    ----------
    leader, model
        Who calls its functions, and the number of its model.
    number
        Its own.
    """

    def __init__(self, leader: Leader, model: int, number: int):
        self.number = number
        self._leader, self._model = leader, model
        weakref.finalize(self, leader.drop, number).atexit = False

    def call(
        self, function: str, objects: Sequence[Twin] = (), numbers: Iterable[int] = ()
    ) -> "RemoteObject":
        """Let the other ranks call a function; return the twin of what it returns."""
        arguments = [self.number]
        for one in objects:
            assert isinstance(one, RemoteObject)
            arguments.append(one.number)
        result = self._leader.call(function, self._model, arguments, numbers)
        return RemoteObject(self._leader, self._model, result)

    def broadcast(self, tokens: mx.array) -> mx.array:
        """Return the tokens, which the other ranks receive."""
        return self._leader.ranks.broadcast(tokens)


class RemoteModel(RemoteObject):
    """A model on the other ranks, each of which has a part of it."""

    def __init__(self, leader: Leader, number: int, name: str):
        super().__init__(leader, number, number)
        self._name = name

    def wait(self, done: int | None) -> Generator[int | None, None, None]:
        """Wait until all ranks have loaded their parts; yield `done` until then.

        Then the model's settings are to be tested: the other ranks do it too.

        Raises
        ------
        LoadFailed
            If a rank could not load its part. The message names its host.
        """
        leader = self._leader
        try:
            while True:
                ended = leader.loaded(self.number)
                for rank, error in ended.items():
                    if error is not None:
                        raise LoadFailed(
                            f"{self._name} cannot be loaded on {leader.hosts[rank]} "
                            f"(rank {rank}): {error}",
                            "model",
                        )
                if len(ended) == leader.ranks.size - 1:
                    self.call("settings")
                    return
                yield done
        finally:
            leader.forget_load(self.number)

    def rows(self, empty: Callable[[], list[Any]]) -> Callable[[], RowCache]:
        """Return a function that makes the caches of a row, as `empty` does, on all ranks."""
        return lambda: self.row(empty())

    def row(self, layers: list[Any], *, plain: bool = False) -> RowCache:
        """Return the caches of a row without tokens.

        Parameters
        ----------
        plain
            Whether they are not quantised, whatever the model's settings are.
        """
        return RowCache(layers, self.call("row", (), (plain,)))


def _portable(path: Path) -> str:
    """Return a path as other hosts should read it: users may have different home folders."""
    path = path.absolute()
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)
