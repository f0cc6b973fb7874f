"""A rank other than 0: it makes the calls that rank 0 makes, on its own part of each model."""

import logging
from collections.abc import Generator
from pathlib import Path
from typing import Any

import mlx.core as mx
import msgspec
from mlx_lm.generate import generation_stream
from mlx_lm.utils import load_model

from mlx_notebook.engine.backends.model_loader import adapt_to_device, loading, read_weights
from mlx_notebook.engine.backends.selection import check_folder, refuse_code
from mlx_notebook.engine.distributed.messages import Begin, Call, Drop, LoadEnded, Message
from mlx_notebook.engine.distributed.rank_channel import FollowerChannel
from mlx_notebook.engine.distributed.rank_group import RankGroup
from mlx_notebook.engine.distributed.repeated_calls import FUNCTIONS, RankModel, arrays_of
from mlx_notebook.engine.distributed.sharding import describe_files, keep_part
from mlx_notebook.engine.errors import EngineError, LoadFailed
from mlx_notebook.engine.runtime.device_memory import device_memory, release_memory

log = logging.getLogger(__name__)

_IDLE_SECONDS = 0.5


class Follower:
    """Carries out the messages of rank 0, in their order.

    A model is loaded in slices, so that other models go on meanwhile.

    Parameters
    ----------
    group
        All ranks.
    channel
        From rank 0.
    """

    def __init__(self, group: mx.distributed.Group, channel: FollowerChannel):
        self._ranks, self._channel = RankGroup(group), channel
        self._decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)
        self._encoder = msgspec.msgpack.Encoder()
        self._objects: dict[int, Any] = {}
        self._loads: dict[int, Generator[object, None, RankModel]] = {}

    def step(self) -> None:
        """Carry out the next message; while there is none, go on with a load or free memory."""
        message = self._channel.receive(0.0 if self._loads else _IDLE_SECONDS)
        if message is not None:
            self._carry_out(self._decoder.decode(message))
        elif self._loads:
            self._load()
        elif mx.get_cache_memory():
            release_memory()

    def _carry_out(self, message: Message) -> None:
        match message:
            case Begin():
                self._loads[message.model] = self._parts(message)
            case Drop():
                self._drop(message.dropped)
            case Call():
                self._drop(message.dropped)
                self._call(message)

    def _call(self, call: Call) -> None:
        with mx.stream(generation_stream):
            arguments = [self._objects[number] for number in call.objects]
            result = FUNCTIONS[call.function](self._objects[call.model], arguments, call.numbers)
            mx.async_eval(arrays_of(result))
        self._objects[call.result] = result
        self._channel.waited_seconds = self._ranks.waited_seconds

    def _drop(self, numbers: list[int]) -> None:
        unloaded = False
        for number in numbers:
            dropped = self._objects.pop(number, None) or self._loads.pop(number, None)
            unloaded |= isinstance(dropped, RankModel | Generator)
        if unloaded:
            del dropped
            release_memory()

    def _load(self) -> None:
        """Do a slice of the first load; tell rank 0 when it has ended."""
        model, parts = next(iter(self._loads.items()))
        error = None
        try:
            next(parts)
            return
        except StopIteration as end:
            self._objects[model] = end.value
        except EngineError as failure:
            error = failure.message
        del self._loads[model]
        self._channel.reply(self._encoder.encode(LoadEnded(model, error)))

    def _parts(self, begin: Begin) -> Generator[object, None, RankModel]:
        """Load this rank's part of a model, in slices."""
        path, name = Path(begin.path).expanduser(), begin.name
        if not (path / "config.json").is_file():
            raise LoadFailed(f"there is no model in {begin.path}. Copy its folder there.", "model")
        if describe_files(path) != begin.files:
            raise LoadFailed(
                f"the files in {begin.path} differ from those of rank 0. Copy them again.", "model"
            )
        check_folder(name, path)
        trusted = begin.options.trust_remote_code
        if not trusted:
            refuse_code(name, path)
        with loading(name):
            model, _ = load_model(path, lazy=True, trust_remote_code=trusted)
            keep_part(model, begin.division, self._ranks.group)
            adapt_to_device(model)
            yield from read_weights(model)
        return RankModel(model, begin.name, begin.options, self._ranks)


def follow(group: mx.distributed.Group, channel: FollowerChannel) -> None:
    """Carry out the messages of rank 0 until this process is ended."""
    mx.set_cache_limit(device_memory() // 20)
    follower = Follower(group, channel)
    while True:
        follower.step()
