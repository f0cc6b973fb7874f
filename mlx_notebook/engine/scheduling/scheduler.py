"""The owner of MLX: requests wait for their model, join its batch, decode together, and leave.

Everything here runs on one thread. `step` is the whole story.
"""

import logging
import queue
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import mlx.core as mx
from mlx_lm.generate import generation_stream

from mlx_notebook.engine.errors import Cancelled, EngineError, InvalidRequest
from mlx_notebook.engine.generation.embedding_job import Embedding
from mlx_notebook.engine.generation.prompt_scoring import Scoring
from mlx_notebook.engine.generation.request import Request
from mlx_notebook.engine.kv_cache.disk_store import Arrays, PrefixStore
from mlx_notebook.engine.kv_cache.disk_writer import PrefixDisk
from mlx_notebook.engine.kv_cache.prefix_cache import PrefixCache
from mlx_notebook.engine.prompts.prompt import PreparedPrompt
from mlx_notebook.engine.residency.memory_budget import Budget
from mlx_notebook.engine.residency.model_queues import Source, Waiting
from mlx_notebook.engine.residency.residency import Residency
from mlx_notebook.engine.residency.resident_model import Slot
from mlx_notebook.engine.runtime.activity import Activity
from mlx_notebook.engine.runtime.device_memory import device_memory
from mlx_notebook.engine.sandbox.sandbox import SANDBOX
from mlx_notebook.engine.scheduling.fair_share import Turns
from mlx_notebook.engine.scheduling.meter import Meter
from mlx_notebook.engine.scheduling.prompt_workers import Job, Made, Planned, Preparing
from mlx_notebook.protocol import (
    Cancel,
    Command,
    Embed,
    EngineConfig,
    Event,
    Failed,
    Generate,
    Load,
    Loaded,
    Loading,
    Pin,
    Pinned,
    Shutdown,
    Stats,
    Tokenize,
    Tokenized,
    Touch,
    Unload,
    Unloaded,
)

log = logging.getLogger(__name__)

_BUSY_INTERVAL, _IDLE_INTERVAL = 0.25, 1.0
_IDLE_WAIT, _SHORT_WAIT = 0.25, 0.005
_LAST_WRITES_SECONDS = 2.0

_LOADING = "\0loading"
"""What takes turns with the models, beside them; no model has such a name."""

Continuation = Callable[[], None]


class Scheduler:
    """Serves commands until told to stop.

    Parameters
    ----------
    settings
        The engine's settings.
    send
        Called with all events of a step.
    activity
        Told what is being done.
    """

    def __init__(
        self,
        settings: EngineConfig,
        send: Callable[[list[Event]], None],
        activity: Activity,
    ):
        self.inbox: queue.SimpleQueue[Command | Continuation] = queue.SimpleQueue()
        self._settings, self._send, self._activity = settings, send, activity
        self._workers = ThreadPoolExecutor(4, "worker")
        SANDBOX.seconds = settings.sandbox_seconds
        mx.set_cache_limit(device_memory() // 20)
        budget = Budget.of(settings)
        self._prefixes = PrefixCache(
            settings.prefix_cache_entries, budget.prefixes, _disk(settings)
        )
        self._waiting = Waiting()
        self._residency = Residency(settings, budget, self._prefixes, self._workers, self._waiting)
        self._preparing = Preparing(settings, self._prefixes, self._workers, self.inbox)
        self._turns = Turns()
        self._meter = Meter()
        self._requests: dict[str, Request] = {}
        self._ready: deque[Request] = deque()
        self._last_stats = self._last_active = 0.0
        self._stopping = False

    def run(self) -> None:
        """Serve until `Shutdown`."""
        while not self._stopping:
            self._take_commands()
            self.step()
        self._prefixes.close(_LAST_WRITES_SECONDS)
        self._workers.shutdown(wait=False, cancel_futures=True)

    def step(self) -> None:
        """Admit who fits, then go on with whose turn it is, a model or a loading; report."""
        events: list[Event] = []
        self._release(events)
        if not self._residency.under_way:
            self._load(events)
        self._admit(events)
        self._take_turn(events)
        self._report(events)
        if events:
            self._send(events)

    def _take_turn(self, events: list[Event]) -> None:
        """A step of one model, or a slice of one that is being loaded."""
        slots = self._residency.slots
        under_way = self._residency.under_way
        active = [model for model, slot in slots.items() if slot.at_work]
        if under_way:
            active.append(_LOADING)
        if not active:
            return
        before = self._turns.current
        turn = self._turns.next(active)
        began = time.perf_counter()
        if before != turn and len(active) > 1:
            # What the last one has left to compute is its own time, not this one's.
            mx.synchronize(generation_stream)
            self._turns.charge(before, time.perf_counter() - began)
            began = time.perf_counter()
        if turn == _LOADING:
            self._load(events)
        else:
            slot = slots[turn]
            if slot.aside:
                self._step_aside(slot, events)
            if slots.get(turn) is slot and (rows := len(slot.runner)):
                self._decode(slot, rows, events)
        self._turns.charge(turn, time.perf_counter() - began)

    @property
    def _idle(self) -> bool:
        return not (
            self._ready
            or self._residency.under_way
            or any(slot.at_work for slot in self._residency.slots.values())
        )

    # --- commands -----------------------------------------------------------------------------

    def _take_commands(self) -> None:
        """Take in everything that has arrived; wait a little for something while idle."""
        try:
            pause = _SHORT_WAIT if len(self._waiting) else _IDLE_WAIT
            item = self.inbox.get(timeout=pause) if self._idle else self.inbox.get_nowait()
            while True:
                self._take(item)
                item = self.inbox.get_nowait()
        except queue.Empty:
            return

    def _take(self, item: Command | Continuation) -> None:
        match item:
            case Generate() if item.id in self._requests:
                log.error("request %s came twice: the second one is dropped", item.id)
            case Generate():
                self._requests[item.id] = Request(item)
                self._meter.requests += 1
                self._arrive(item)
            case Tokenize() | Embed():
                self._arrive(item)
            case Load():
                self._waiting.add(item)
            case Cancel():
                self._cancel(item.id)
            case Unload():
                self._unload(item)
            case Pin():
                self._pin(item)
            case Touch():
                if (slot := self._residency.slots.get(item.model)) is not None:
                    slot.keep()
            case Shutdown():
                self._stopping = True
            case _:
                item()

    def _arrive(self, job: Job) -> None:
        """Begin a job if its model is in memory and need not make room; else let it wait."""
        slot = self._residency.usable(job.model, Source.of(job))
        stays = job.model not in self._residency.held and not self._waiting.get(job.model)
        if slot is not None and stays:
            self._begin(job, slot)
            return
        self._waiting.add(job)
        self._send([Loading(job.id, job.model, 0.0)])

    def _begin(self, job: Job, slot: Slot) -> None:
        """Have workers prepare a job whose model is in memory; `_made` goes on with the result."""
        slot.waiting += 1
        self._activity.preparing += 1
        self._preparing.make(job, slot.backend, partial(self._made, job, slot))

    def _made(self, job: Job, slot: Slot, made: Made) -> None:
        self._activity.preparing -= 1
        self._activity.prepared += 1
        slot.waiting -= 1
        if self._residency.slots.get(job.model) is not slot:
            if not isinstance(job, Generate):  # else it has been told already
                gone = EngineError(f"{job.model} was unloaded meanwhile: ask again.")
                self._refuse(job.id, gone)
            return
        match made:
            case Planned():
                self._planned(job.id, slot, made)
            case Embedding():
                slot.aside.append(made)
            case Tokenized():
                self._send([made])
            case Cancelled():
                pass
            case EngineError():
                self._refuse(job.id, made)

    def _planned(self, request_id: str, slot: Slot, planned: Planned) -> None:
        """Let a request wait for its turn, once its prompt is scored or read back from disk."""
        request = self._requests.get(request_id)
        if request is None:  # it was cancelled meanwhile
            return
        prompt, command = planned.prompt, request.command
        request.prompt, request.plan = prompt, planned.plan
        request.max_tokens = planned.max_tokens
        if command.prompt_logprobs is not None:
            slot.aside.append(Scoring(request_id, prompt.tokens, command.prompt_logprobs))
            return
        slot.waiting += 1
        covered = self._prefixes.covered(command.model, prompt.cache_keys, prompt.salt)
        if planned.on_disk <= covered:
            self._ready.append(request)
            return
        then = partial(self._was_read, request, slot, prompt)
        self._preparing.read_back(command.model, prompt, then)

    def _was_read(
        self, request: Request, slot: Slot, prompt: PreparedPrompt, count: int, arrays: Arrays
    ) -> None:
        if self._requests.get(request.id) is not request:  # it was cancelled meanwhile
            slot.waiting -= 1
            return
        model = request.command.model
        self._prefixes.restore(model, prompt.cache_keys, count, arrays, prompt.salt)
        self._ready.append(request)

    def _refuse(self, job_id: str, error: EngineError) -> None:
        """End a request or another job with an error."""
        if self._requests.pop(job_id, None) is not None:
            self._meter.failed += 1
        self._send([error.event(job_id)])

    def _cancel(self, job_id: str) -> None:
        self._preparing.cancel(job_id)
        request = self._requests.pop(job_id, None)
        if request is not None:
            self._meter.cancelled += 1
        job = self._waiting.drop(job_id)
        if job is not None:
            # A load goes on after its request was cancelled, for whoever asks again; but not if
            # the load itself was ordered and cancelled, nor while another model waits.
            nobody = self._waiting.get(job.model) is None
            reading = self._residency.under_way == job.model
            if nobody and (isinstance(job, Load) or len(self._waiting) or not reading):
                self._residency.abandon(job.model)
            return
        for slot in self._residency.slots.values():
            slot.aside = deque(job for job in slot.aside if job.id != job_id)
        used = self._residency.slots.get(request.command.model) if request else None
        if request is None or used is None:
            return
        if request in self._ready:
            self._ready.remove(request)
            used.waiting -= 1
        used.runner.drop(request)

    def _unload(self, command: Unload) -> None:
        model = command.model
        slot = self._residency.slots.get(model)
        queue = self._waiting.get(model)
        if (slot is not None and slot.busy) or (queue is not None and not queue.only_ordered):
            message = f"{model} is answering requests: cancel them first, or wait."
            self._send([Failed(command.id, "invalid_request", message, "model")])
            return
        for order in self._waiting.take(model):
            self._refuse(order.id, InvalidRequest(f"{model} was unloaded meanwhile.", "model"))
        self._residency.abandon(model)
        freed = self._residency.unload(model) if slot is not None else 0
        # The statistics first: who hears of the unloading may ask for them at once.
        self._send([self._stats(), Unloaded(command.id, model, freed)])

    def _pin(self, command: Pin) -> None:
        slot = self._residency.slots.get(command.model)
        if slot is None:
            message = f"{command.model} is not in memory: load it first."
            self._send([Failed(command.id, "invalid_request", message, "model")])
            return
        slot.pinned = command.pinned
        self._send([self._stats(), Pinned(command.id, command.model, command.pinned)])

    # --- models -------------------------------------------------------------------------------

    def _load(self, events: list[Event]) -> None:
        """Do a slice of loading; whoever waits for what has failed to load hears of it."""
        self._activity.work = "loading"
        result = self._residency.advance()
        self._activity.work = "step"
        self._show_loading()
        if result is None:
            return
        model, outcome = result
        if isinstance(outcome, EngineError):
            for job in self._waiting.take(model):
                self._refuse(job.id, outcome)
        else:
            self._loaded(self._residency.slots[model], outcome, events)

    def _show_loading(self) -> None:
        """Requests are `loading` once their model is; until then they are queued for memory."""
        queue = self._waiting.get(self._residency.under_way or "")
        for job in queue.jobs if queue else []:
            request = self._requests.get(job.id)
            if request is not None and request.phase == "queued":
                request.phase, request.loading_since = "loading", time.perf_counter()

    def _release(self, events: list[Event]) -> None:
        """Begin what waits for a model that is there and may take it."""
        for waiting in self._waiting:
            slot = self._residency.usable(waiting.model, waiting.source)
            if slot is not None and waiting.model not in self._residency.held:
                self._loaded(slot, 0.0, events)

    def _loaded(self, slot: Slot, seconds: float, events: list[Event]) -> None:
        slot.use()
        for job in self._waiting.take(slot.backend.name):
            if Source.of(job) != slot.source:  # its settings were changed meanwhile
                self._waiting.add(job)
            elif isinstance(job, Load):
                slot.pinned = slot.pinned if job.pin is None else job.pin
                events.extend([self._stats(), Loaded(job.id, slot.resident, seconds)])
            else:
                request = self._requests.get(job.id)
                if request is not None:
                    request.phase, request.loaded = "queued", time.perf_counter()
                self._begin(job, slot)

    # --- requests -----------------------------------------------------------------------------

    def _admit(self, events: list[Event]) -> None:
        """Let waiting requests join their model's batch, in order, while there are free rows."""
        waiting, self._ready = self._ready, deque()
        for request in waiting:
            slot = self._residency.slots[request.command.model]
            if request.arrived > self._residency.held.get(request.command.model, request.arrived):
                slot.waiting -= 1
                request.phase = "queued"
                self._waiting.add(request.command)
                continue
            if len(slot.runner) >= self._settings.max_batch:
                self._ready.append(request)
                continue
            slot.waiting -= 1
            if not request.max_tokens:
                self._end_unstarted(request, events)
                continue
            slot.runner.join(request, events)
            assert request.prompt is not None
            self._meter.prompt_tokens += len(request.prompt.tokens)
            self._meter.cached_tokens += request.cached

    def _end_unstarted(self, request: Request, events: list[Event]) -> None:
        """A request for no tokens at all (its prompt was to be scored) has ended."""
        request.end(events)
        del self._requests[request.id]
        self._meter.finished += 1

    def _decode(self, slot: Slot, rows: int, events: list[Event]) -> None:
        self._activity.work = "first step" if slot.may_compile(rows) else "step"
        try:
            finished, failed, generated, prefilled = slot.runner.step(events)
        except Exception as error:
            log.exception("%s failed in a step", slot.backend.name)
            self._abandon(slot, error)
            return
        finally:
            self._activity.work = "step"
        slot.use()
        self._meter.count(generated, prefilled)
        for request in finished:
            del self._requests[request.id]
            self._meter.finished += 1
        for request, failure in failed:
            del self._requests[request.id]
            self._meter.failed += 1
            events.append(failure.event(request.id))

    def _step_aside(self, slot: Slot, events: list[Event]) -> None:
        """Do a piece of embedding or scoring."""
        job = slot.aside[0]
        slot.use()
        try:
            answer = job.step(slot.backend)
        except EngineError as error:
            slot.aside.popleft()
            self._refuse(job.id, error)
            return
        except Exception as error:
            log.exception("%s failed in a step", slot.backend.name)
            self._abandon(slot, error)
            return
        if answer is None:
            return
        slot.aside.popleft()
        events.append(answer)
        request = self._requests.get(job.id)
        if request is not None:  # its prompt is scored: now it may generate
            self._ready.append(request)
            slot.waiting += 1

    def _abandon(self, slot: Slot, error: Exception) -> None:
        """A step failed: the model's batch is in an unknown state. End its requests, unload it."""
        model = slot.backend.name
        failure = EngineError(f"{model} failed while generating: {error}")
        queue = self._waiting.get(model)
        waiting = {job.id for job in queue.jobs} if queue else set()
        for request in [r for r in self._requests.values() if r.command.model == model]:
            if request.id in waiting:  # it has not begun
                continue
            if request in self._ready:
                self._ready.remove(request)
            self._refuse(request.id, failure)
        for job in slot.aside:
            if isinstance(job, Embedding):
                self._refuse(job.id, failure)
        self._residency.unload(model)

    # --- status -------------------------------------------------------------------------------

    def _report(self, events: list[Event]) -> None:
        now = time.perf_counter()
        if self._requests or self._residency.under_way or len(self._waiting):
            self._last_active = now
        elif now - self._last_active > 1:
            self._residency.tidy()
        active = now - self._last_active < 2
        if now - self._last_stats < (_BUSY_INTERVAL if active else _IDLE_INTERVAL):
            return
        self._last_stats = now
        self._residency.unload_idle()
        events.append(self._stats())

    def _stats(self) -> Stats:
        decode, prefill = self._meter.rates()
        return Stats(
            [slot.resident for slot in self._residency.slots.values()],
            self._residency.loading,
            [request.live() for request in self._requests.values()],
            self._meter.totals(),
            self._meter.memory(self._prefixes.nbytes),
            decode,
            prefill,
            self._residency.budget.limit,
            self._residency.progress,
        )


def _disk(settings: EngineConfig) -> PrefixDisk | None:
    if settings.prefix_disk_path is None or not settings.prefix_disk_bytes:
        return None
    store = PrefixStore(Path(settings.prefix_disk_path), settings.prefix_disk_bytes)
    return PrefixDisk(store)
