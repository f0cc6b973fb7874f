"""The owner of MLX: requests wait, join their model's batch, decode together, and leave.

Everything here runs on one thread. `step` is the whole story.
"""

import logging
import queue
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mlx.core as mx
import psutil

from mlx_notebook.engine.errors import EngineError, InvalidRequest
from mlx_notebook.engine.meter import Meter
from mlx_notebook.engine.output import OutputStream
from mlx_notebook.engine.prefix_cache import PrefixCache
from mlx_notebook.engine.prompts import Prepared, allowed_tokens, prepare
from mlx_notebook.engine.request import Request, Sequence
from mlx_notebook.engine.residency import Residency, Slot
from mlx_notebook.engine.sampling import make_row
from mlx_notebook.engine.text import Progress, TextBackend, Token
from mlx_notebook.messages import (
    Cancel,
    Command,
    EngineConfig,
    Event,
    Failed,
    FinishReason,
    Generate,
    Load,
    Loaded,
    Loading,
    Prefill,
    Resident,
    Shutdown,
    Stats,
    TokenLogprob,
    Unload,
    Unloaded,
)

log = logging.getLogger(__name__)

_BUSY_INTERVAL, _IDLE_INTERVAL = 0.25, 1.0
_IDLE_WAIT = 0.25


class Scheduler:
    """Serves commands until told to stop.

    Parameters
    ----------
    settings
        The engine's settings.
    send
        Called with all events of a step.
    """

    def __init__(self, settings: EngineConfig, send: Callable[[list[Event]], None]):
        self.inbox: queue.SimpleQueue[Command | tuple[Request, Prepared | EngineError]] = (
            queue.SimpleQueue()
        )
        self._settings, self._send = settings, send
        self._workers = ThreadPoolExecutor(2, "prompt")
        memory = _device_memory()
        mx.set_cache_limit(memory // 20)
        self._prefixes = PrefixCache(
            settings.prefix_cache_entries, settings.prefix_cache_bytes or memory // 10
        )
        self._residency = Residency(settings, self._prefixes, self._workers)
        self._meter = Meter()
        self._requests: dict[str, Request] = {}
        self._sequences: dict[str, dict[int, Sequence]] = {}
        self._ready: deque[Request] = deque()
        self._loads: dict[str, list[str]] = {}
        self._last_stats = self._last_active = 0.0
        self._stopping = False

    def run(self) -> None:
        """Serve until `Shutdown`."""
        while not self._stopping:
            self._take_commands()
            self.step()
        self._workers.shutdown(wait=False, cancel_futures=True)

    def step(self) -> None:
        """Load a slice, admit who fits, decode one token for every row of every model, report."""
        events: list[Event] = []
        self._load(events)
        self._admit(events)
        for slot in list(self._residency.slots.values()):
            if len(slot.backend):
                self._decode(slot, events)
        self._report(events)
        if events:
            self._send(events)

    @property
    def _idle(self) -> bool:
        return not (
            self._ready
            or self._residency.loading
            or any(len(slot.backend) for slot in self._residency.slots.values())
        )

    # --- commands -----------------------------------------------------------------------------

    def _take_commands(self) -> None:
        """Take in everything that has arrived; wait a little for something while idle."""
        try:
            item = self.inbox.get(timeout=_IDLE_WAIT) if self._idle else self.inbox.get_nowait()
            while True:
                self._take(item)
                item = self.inbox.get_nowait()
        except queue.Empty:
            return

    def _take(self, item: Command | tuple[Request, Prepared | EngineError]) -> None:
        if isinstance(item, tuple):
            self._prepared(*item)
        elif isinstance(item, Generate):
            self._arrive(item)
        elif isinstance(item, Cancel):
            self._cancel(item.id)
        elif isinstance(item, Load):
            self._loads.setdefault(item.model, []).append(item.id)
            self._residency.want(item.model, Path(item.path))
        elif isinstance(item, Unload):
            self._unload(item)
        elif isinstance(item, Shutdown):
            self._stopping = True

    def _arrive(self, command: Generate) -> None:
        request = Request(command)
        self._requests[command.id] = request
        self._meter.requests += 1
        slot = self._residency.slots.get(command.model)
        if slot is None:
            request.phase = "loading"
            request.loading_since = time.perf_counter()
            self._residency.want(command.model, Path(command.path))
            self._send([Loading(command.id, command.model, 0.0)])
        else:
            self._prepare(request, slot)

    def _prepare(self, request: Request, slot: Slot) -> None:
        """Render and tokenize off this thread; the result comes back through the inbox."""
        slot.waiting += 1
        tokenizer, keep_stable = slot.backend.tokenizer, not slot.backend.trimmable

        def work() -> None:
            try:
                result: Prepared | EngineError = prepare(
                    tokenizer, request.command.prompt, keep_stable
                )
            except EngineError as error:
                result = error
            except Exception as error:
                log.exception("preparing %s failed", request.id)
                result = EngineError(f"the prompt could not be prepared: {error}")
            self.inbox.put((request, result))

        self._workers.submit(work)

    def _prepared(self, request: Request, result: Prepared | EngineError) -> None:
        slot = self._residency.slots.get(request.command.model)
        if slot is None:  # its model failed meanwhile, and the request with it
            return
        try:
            if request.id not in self._requests:  # cancelled meanwhile
                slot.waiting -= 1
                return
            if isinstance(result, EngineError):
                raise result
            if not result.tokens:
                raise InvalidRequest("the prompt is empty", "messages")
            request.max_tokens = allowed_tokens(
                len(result.tokens),
                slot.backend.context_length,
                request.command.sampling.max_tokens,
                self._settings.max_prompt_tokens,
            )
        except EngineError as error:
            slot.waiting -= 1
            self._fail(request, error)
            return
        request.prompt = result
        self._ready.append(request)

    def _cancel(self, request_id: str) -> None:
        request = self._requests.pop(request_id, None)
        if request is None:
            return
        self._meter.cancelled += 1
        if request in self._ready:
            self._ready.remove(request)
            self._residency.slots[request.command.model].waiting -= 1
        self._drop(request)

    def _drop(self, request: Request) -> None:
        """Take a request's rows out of their batch."""
        model = request.command.model
        uids = [sequence.uid for sequence in request.sequences if not sequence.finished]
        if uids:
            self._residency.slots[model].backend.remove(uids)
            for uid in uids:
                del self._sequences[model][uid]

    def _unload(self, command: Unload) -> None:
        slot = self._residency.slots.get(command.model)
        if slot is None:
            self._send([Unloaded(command.id, command.model, 0)])
        elif slot.busy:
            self._send(
                [
                    Failed(
                        command.id,
                        "invalid_request",
                        f"{command.model} is answering requests: cancel them first, or wait.",
                        "model",
                    )
                ]
            )
        else:
            freed = self._residency.unload(command.model)
            self._send([Unloaded(command.id, command.model, freed)])

    def _fail(self, request: Request, error: EngineError) -> None:
        self._requests.pop(request.id, None)
        self._meter.failed += 1
        self._send([error.event(request.id)])

    # --- models -------------------------------------------------------------------------------

    def _load(self, events: list[Event]) -> None:
        for model in list(self._loads):
            slot = self._residency.slots.get(model)
            if slot is not None:
                self._residency.touch(model)
                resident = _resident(slot)
                events.extend(Loaded(i, resident, 0.0) for i in self._loads.pop(model))
        result = self._residency.advance()
        if result is None:
            return
        model, outcome = result
        loads = self._loads.pop(model, [])
        waiting = [
            r for r in self._requests.values() if r.command.model == model and r.phase == "loading"
        ]
        if isinstance(outcome, EngineError):
            events.extend(outcome.event(i) for i in loads)
            for request in waiting:
                self._fail(request, outcome)
            return
        slot = self._residency.slots[model]
        events.extend(Loaded(i, _resident(slot), outcome) for i in loads)
        for request in waiting:
            request.phase = "queued"
            request.loaded = time.perf_counter()
            self._prepare(request, slot)

    # --- requests -----------------------------------------------------------------------------

    def _admit(self, events: list[Event]) -> None:
        """Let waiting requests join their model's batch, in order, while there are free rows."""
        waiting = self._ready
        self._ready = deque()
        full: set[str] = set()
        for request in waiting:
            model = request.command.model
            slot = self._residency.slots[model]
            if model in full or len(slot.backend) >= self._settings.max_batch:
                full.add(model)
                self._ready.append(request)
                continue
            slot.waiting -= 1
            self._join(request, slot.backend, events)

    def _join(self, request: Request, backend: TextBackend, events: list[Event]) -> None:
        prompt, command = request.prompt, request.command
        assert prompt is not None
        request.phase, request.admitted = "prefill", time.perf_counter()
        # Rows of one request share one prefill: the others fork off once it is done.
        first = 1 if backend.trimmable else command.n
        for index in range(first):
            row = make_row(command.sampling, backend.defaults, prompt.tokens, index)
            uid, cached = backend.insert(
                row,
                prompt.tokens,
                request.max_tokens,
                endless=command.sampling.ignore_eos,
                stable=prompt.stable,
            )
            self._add(request, backend, index, uid)
            request.cached = request.prefilled = cached
        self._meter.prompt_tokens += len(prompt.tokens)
        self._meter.cached_tokens += request.cached
        events.append(Prefill(request.id, request.cached, len(prompt.tokens), request.cached))

    def _add(self, request: Request, backend: TextBackend, index: int, uid: int) -> None:
        assert request.prompt is not None
        output = OutputStream(
            request.id,
            index,
            backend.tokenizer,
            backend.grammar,
            stop=request.command.sampling.stop,
            thinking=request.prompt.thinking,
        )
        sequence = Sequence(request, index, uid, output)
        request.sequences.append(sequence)
        self._sequences.setdefault(backend.name, {})[uid] = sequence

    def _decode(self, slot: Slot, events: list[Event]) -> None:
        backend = slot.backend
        try:
            progress, tokens = backend.step()
        except Exception as error:
            log.exception("%s failed in a step", backend.name)
            self._abandon(backend, error)
            return
        slot.last_used = time.time()
        sequences = self._sequences[backend.name]
        for prompt in progress:
            self._progress(sequences[prompt.uid], prompt, backend, events)
        if tokens:
            self._meter.decoded(len(tokens))
            stopped = []
            for token in tokens:
                sequence = sequences[token.uid]
                if self._emit(sequence, token, backend, events):
                    del sequences[token.uid]
                    if token.finish is None:
                        stopped.append(token.uid)
            if stopped:
                backend.remove(stopped)

    def _progress(
        self, sequence: Sequence, prompt: Progress, backend: TextBackend, events: list[Event]
    ) -> None:
        request = sequence.request
        if sequence.index > 0:
            return
        assert request.prompt is not None
        total = len(request.prompt.tokens)
        done = total if prompt.end else request.cached + prompt.done
        self._meter.prefilled(done - request.prefilled)
        request.prefilled = done
        if not prompt.end:
            events.append(Prefill(request.id, done, total, request.cached))
            return
        sampling = request.command.sampling
        for index in range(len(request.sequences), request.command.n):
            row = make_row(sampling, backend.defaults, request.prompt.tokens, index)
            uid = backend.fork(sequence.uid, row, request.max_tokens, endless=sampling.ignore_eos)
            self._add(request, backend, index, uid)

    def _emit(
        self, sequence: Sequence, token: Token, backend: TextBackend, events: list[Event]
    ) -> bool:
        """Pass one token on; True if it ended its row."""
        request = sequence.request
        if not request.first_token:
            request.first_token, request.phase = time.perf_counter(), "decode"
        sequence.generated += 1
        if token.finish != "stop":
            sequence.output.add(token.id, _logprob(token, backend), events)
        if token.finish is None and not sequence.output.stopped:
            return False
        cut = token.finish == "length" and not sequence.output.stopped
        reason: FinishReason = "length" if cut else "stop"
        if request.finish(sequence, reason, events):
            del self._requests[request.id]
            self._meter.finished += 1
        return True

    def _abandon(self, backend: TextBackend, error: Exception) -> None:
        """A step failed: the model's batch is in an unknown state. End its requests, unload it."""
        self._sequences.pop(backend.name, None)
        failure = EngineError(f"{backend.name} failed while generating: {error}")
        for request in [r for r in self._requests.values() if r.command.model == backend.name]:
            if request in self._ready:
                self._ready.remove(request)
            self._fail(request, failure)
        self._residency.unload(backend.name)

    # --- status -------------------------------------------------------------------------------

    def _report(self, events: list[Event]) -> None:
        now = time.perf_counter()
        busy = bool(self._requests or self._residency.loading)
        if busy:
            self._last_active = now
        elif now - self._last_active > 1 and mx.get_cache_memory():
            mx.clear_cache()
        active = now - self._last_active < 2
        if now - self._last_stats < (_BUSY_INTERVAL if active else _IDLE_INTERVAL):
            return
        self._last_stats = now
        self._residency.unload_idle()
        decode, prefill = self._meter.rates()
        events.append(
            Stats(
                [_resident(slot) for slot in self._residency.slots.values()],
                self._residency.loading,
                [request.live() for request in self._requests.values()],
                self._meter.totals(),
                self._meter.memory(self._prefixes.nbytes),
                decode,
                prefill,
            )
        )


def _resident(slot: Slot) -> Resident:
    backend = slot.backend
    return Resident(
        backend.name,
        backend.nbytes,
        backend.context_length,
        slot.loaded_at,
        slot.last_used,
        len(backend) + slot.waiting,
    )


def _logprob(token: Token, backend: TextBackend) -> TokenLogprob | None:
    if token.logprob is None:
        return None
    chosen, ids, values = token.logprob
    best = list(zip(ids.tolist(), values.tolist(), strict=True))
    return backend.vocabulary.logprob(token.id, chosen.item(), best)


def _device_memory() -> int:
    """Bytes that models may reasonably use: what Metal recommends, else what the machine has."""
    if mx.metal.is_available():
        return int(mx.device_info()["max_recommended_working_set_size"])
    return int(psutil.virtual_memory().total)
