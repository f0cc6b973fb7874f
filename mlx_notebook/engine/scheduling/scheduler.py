"""The owner of MLX: loads models, adds requests to their batches, and steps the models in turn.

Everything here runs on one thread. `Scheduler.step` is the whole story.
"""

import logging
import queue
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mlx.core as mx
from mlx_lm.generate import generation_stream

from mlx_notebook.engine.distributed.leader import Leader
from mlx_notebook.engine.errors import EngineError
from mlx_notebook.engine.generation.audio_job import AudioJob
from mlx_notebook.engine.generation.embedding_job import EmbeddingJob
from mlx_notebook.engine.generation.request import RequestState
from mlx_notebook.engine.generation.reranking_job import RerankingJob
from mlx_notebook.engine.kv_cache.disk.disk_cache import DiskPrefixCache
from mlx_notebook.engine.kv_cache.disk.disk_store import DiskStore
from mlx_notebook.engine.kv_cache.disk.write_limit import WriteLimit
from mlx_notebook.engine.kv_cache.prefix_cache import PrefixCache
from mlx_notebook.engine.residency.memory_budget import MemoryBudget
from mlx_notebook.engine.residency.memory_reservations import MemoryReservations
from mlx_notebook.engine.residency.model_queues import ModelQueues, ModelSpec
from mlx_notebook.engine.residency.residency import Residency
from mlx_notebook.engine.residency.resident_model import ResidentModel
from mlx_notebook.engine.runtime.activity import Activity
from mlx_notebook.engine.runtime.device_memory import device_memory
from mlx_notebook.engine.sandbox.sandbox import SANDBOX
from mlx_notebook.engine.scheduling.batch_admission import BatchAdmission
from mlx_notebook.engine.scheduling.commands import Commands
from mlx_notebook.engine.scheduling.fair_share import FairShare
from mlx_notebook.engine.scheduling.live_requests import LiveRequests
from mlx_notebook.engine.scheduling.meter import Meter
from mlx_notebook.engine.scheduling.prompt_workers import PromptWorkers
from mlx_notebook.protocol import Command, EngineConfig, Event, Load, Loaded

log = logging.getLogger(__name__)

_BUSY_INTERVAL, _IDLE_INTERVAL = 0.25, 1.0
_IDLE_WAIT, _SHORT_WAIT, _GATHERING_WAIT = 0.25, 0.005, 0.001
_LAST_WRITES_SECONDS = 2.0

_RELEASE_SECONDS = 10.0
"""Idle time after which unused memory is returned. Whoever asks sooner need not get it again."""

_LOADING = "\0loading"
"""The load in progress, which shares time with the models. No model has this name."""

Continuation = Callable[[], None]


class Scheduler:
    """Serves the server's commands until `Shutdown`.

    Parameters
    ----------
    settings
        The engine's settings.
    send
        Called with all events of a step.
    activity
        Shows what this thread is doing.
    leader
        Tells the other ranks what to do, if there are several.

    Attributes
    ----------
    inbox
        Takes commands from the server and functions from workers.
    """

    def __init__(
        self,
        settings: EngineConfig,
        send: Callable[[list[Event]], None],
        activity: Activity,
        leader: Leader | None = None,
    ):
        self.inbox: queue.SimpleQueue[Command | Continuation] = queue.SimpleQueue()
        self._send, self._activity = send, activity
        self._leader = leader
        self._workers = ThreadPoolExecutor(4, "worker")
        SANDBOX.seconds = settings.sandbox_seconds
        mx.set_cache_limit(device_memory() // 20)
        budget = (
            MemoryBudget.of(settings)
            if leader is None
            else MemoryBudget.of(settings, memory=leader.memory, ranks=leader.ranks.size)
        )
        self._prefixes = PrefixCache(
            settings.prefix_cache_entries, budget.prefix_bytes, self._prefix_disk(settings)
        )
        self._queues = ModelQueues()
        self._residency = Residency(
            *(settings, budget, self._prefixes, self._workers, self._queues), leader=leader
        )
        self._reservations = MemoryReservations(self._residency, settings, self._prefixes.shrink)
        self._requests = LiveRequests(send)
        self._meter = Meter(self._residency, self._requests, self._prefixes, leader)
        prompts = PromptWorkers(settings, self._prefixes, self._workers, self.inbox, activity)
        self._commands = Commands(
            *(self._residency, self._queues, prompts, self._prefixes),
            *(self._requests, self._meter, self._reservations, send),
        )
        self._admission = BatchAdmission(
            *(self._residency, self._queues, self._requests, self._meter, settings.max_batch)
        )
        self._share = FairShare()
        self._last_stats = self._last_active = 0.0

    def run(self) -> None:
        """Serve until `Shutdown`."""
        while not self._commands.stopping:
            self._take_commands()
            self.step()
        self._residency.wired.restore()
        self._prefixes.close(_LAST_WRITES_SECONDS)
        self._workers.shutdown(wait=False, cancel_futures=True)

    def step(self) -> None:
        """Begin what waits, add requests to batches, let one model make a step, report."""
        events: list[Event] = []
        self._begin_queued(events)
        if not self._residency.reading:
            self._load(events)
        events.extend(self._reservations.advance())
        self._admission.admit(events)
        self._work(events)
        self._report(events)
        if events:
            self._send(events)

    def _work(self, events: list[Event]) -> None:
        """Do a step of the model whose turn it is, or a slice of the load in progress."""
        models = self._residency.models
        active = [name for name, resident in models.items() if resident.has_work]
        if self._residency.reading:
            active.append(_LOADING)
        if len(active) > 1:
            active = [name for name in active if self._is_waited_for(name)] or active
        if not active:
            return
        before = self._share.current
        turn = self._share.next(active)
        began = time.perf_counter()
        if before != turn and len(active) > 1:
            # MLX may still compute the last step of the other model: charge that time to it.
            mx.synchronize(generation_stream)
            self._share.charge(before, time.perf_counter() - began)
            began = time.perf_counter()
        if turn == _LOADING:
            self._load(events)
        else:
            resident = models[turn]
            hurry = resident.runner is not None and bool(resident.runner.urgent_users)
            patient = all(job.patient for job in resident.side_jobs)
            if resident.side_jobs and not hurry and not (patient and self._requests.waited_for):
                self._do_side_job(resident, events)
            if models.get(turn) is resident and (rows := resident.rows):
                self._decode(resident, rows, events)
        self._share.charge(turn, time.perf_counter() - began)

    def _is_waited_for(self, name: str) -> bool:
        """Return whether somebody waits for the next step of a model, or of the load."""
        if name == _LOADING:
            queue = self._queues.get(self._residency.reading or "")
            return queue is None or not queue.patient
        return self._residency.models[name].waited_for

    # --- commands -----------------------------------------------------------------------------

    def _take_commands(self) -> None:
        """Carry out everything in the inbox; while idle, wait a little for something."""
        try:
            pause = self._pause
            item = self.inbox.get(timeout=pause) if pause else self.inbox.get_nowait()
            while True:
                if callable(item):
                    item()
                else:
                    self._commands.carry_out(item)
                item = self.inbox.get_nowait()
        except queue.Empty:
            return

    @property
    def _pause(self) -> float:
        """Seconds to wait for a command: none while there is work."""
        models = self._residency.models.values()
        if self._residency.reading or any(resident.has_work for resident in models):
            return 0.0
        if any(resident.ready for resident in models):
            return _GATHERING_WAIT
        return _SHORT_WAIT if len(self._queues) or len(self._reservations) else _IDLE_WAIT

    # --- models -------------------------------------------------------------------------------

    def _begin_queued(self, events: list[Event]) -> None:
        """Begin the queued jobs whose model is in memory and may take them."""
        for waiting in self._queues:
            resident = self._residency.usable(waiting.model, waiting.spec)
            if resident is not None and waiting.model not in self._residency.held:
                self._begin_jobs(resident, 0.0, events)

    def _load(self, events: list[Event]) -> None:
        """Do a slice of loading; when it ends, begin the jobs that wait for it, or fail them."""
        self._activity.work = "loading"
        result = self._residency.advance()
        self._activity.work = "step"
        self._mark_loading()
        if result is None:
            return
        model, outcome = result
        if isinstance(outcome, EngineError):
            for job in self._queues.pop(model):
                self._requests.fail(job.id, outcome)
        else:
            self._begin_jobs(self._residency.models[model], outcome, events)
            # Whoever asks after the first answer sees the model in memory.
            events.append(self._meter.stats())

    def _mark_loading(self) -> None:
        """Mark the requests whose model is being read; others are still queued for memory."""
        waiting = self._queues.get(self._residency.reading or "")
        for job in waiting.jobs if waiting else []:
            request = self._requests.get(job.id)
            if request is not None and request.state is RequestState.QUEUED:
                request.enter(RequestState.LOADING)

    def _begin_jobs(self, resident: ResidentModel, seconds: float, events: list[Event]) -> None:
        """Begin all jobs that wait for a model, which took `seconds` to load."""
        resident.mark_used()
        for job in self._queues.pop(resident.name):
            if ModelSpec.of(job) != resident.spec:  # the model's settings were changed meanwhile
                request = self._requests.get(job.id)
                if request is not None and request.state is RequestState.LOADING:
                    request.enter(RequestState.QUEUED)
                self._queues.add(job)
            elif isinstance(job, Load):
                resident.pinned = resident.pinned if job.pin is None else job.pin
                events.extend(
                    [self._meter.stats(), Loaded(job.id, self._meter.resident(resident), seconds)]
                )
            else:
                self._commands.begin(job, resident)

    # --- requests -----------------------------------------------------------------------------

    def _decode(self, resident: ResidentModel, rows: int, events: list[Event]) -> None:
        """Do one step of a model's batch."""
        runner = resident.runner
        assert runner is not None
        self._activity.work = "first step" if resident.may_compile(rows) else "step"
        try:
            result = runner.step(events)
        except Exception as error:
            log.exception("%s failed in a step", resident.name)
            self._unload_failed(resident, error)
            return
        finally:
            self._activity.work = "step"
        resident.mark_used()
        self._meter.count_step(result.generated, result.prefilled)
        for request in result.finished:
            self._requests.remove(request)
        for request, failure in result.failed:
            request.enter(RequestState.FAILED)
            self._requests.remove(request)
            events.append(failure.event(request.id))

    def _do_side_job(self, resident: ResidentModel, events: list[Event]) -> None:
        """Do a piece of the next side job: embed, rank or score some tokens, or transcribe."""
        job = resident.next_side_job()
        resident.mark_used()
        try:
            answer = job.step()
            if isinstance(job, AudioJob):
                events.extend(job.take_events())
        except EngineError as error:
            resident.side_jobs.remove(job)
            self._requests.fail(job.id, error)
            return
        except Exception as error:
            log.exception("%s failed in a step", resident.name)
            self._unload_failed(resident, error)
            return
        if answer is None:
            return
        resident.side_jobs.remove(job)
        events.append(answer)
        request = self._requests.get(job.id)
        if request is not None:  # its prompt is scored: now it may generate
            request.enter(RequestState.READY)
            resident.ready.append(request)

    def _unload_failed(self, resident: ResidentModel, error: Exception) -> None:
        """End a model's requests and unload it: after a failed step its batch is unknown."""
        if self._leader is not None:
            self._leader.fail(error)
        failure = EngineError(f"{resident.name} failed while generating: {error}")
        for request in self._requests:
            if request.command.model == resident.name and not request.waits_for_model:
                self._requests.fail(request.id, failure)
        for job in resident.side_jobs:
            if isinstance(job, EmbeddingJob | RerankingJob | AudioJob):
                self._requests.fail(job.id, failure)
        self._residency.unload(resident.name)

    # --- status -------------------------------------------------------------------------------

    def _report(self, events: list[Event]) -> None:
        """Append the statistics when they are due; while idle, return unused memory."""
        now = time.perf_counter()
        if len(self._requests) or self._residency.reading or len(self._queues):
            self._last_active = now
        else:
            if now - self._last_active > _RELEASE_SECONDS:
                self._residency.return_unused_memory()
            if now - self._last_active > 1 and self._leader is not None:
                self._leader.flush()
        active = now - self._last_active < 2
        if now - self._last_stats < (_BUSY_INTERVAL if active else _IDLE_INTERVAL):
            return
        self._last_stats = now
        self._residency.unload_idle()
        events.append(self._meter.stats())

    def _prefix_disk(self, settings: EngineConfig) -> DiskPrefixCache | None:
        if settings.prefix_disk_path is None or not settings.prefix_disk_bytes:
            return None
        if settings.distributed is not None:
            return None  # rank 0 has only a part of a KV cache
        return DiskPrefixCache(
            DiskStore(Path(settings.prefix_disk_path), settings.prefix_disk_bytes),
            WriteLimit(settings.prefix_disk_hourly_bytes),
            busy=lambda: len(self._requests) > 0,
            pinned=self._is_pinned,
        )

    def _is_pinned(self, model: str) -> bool:
        resident = self._residency.models.get(model)
        return resident is not None and resident.pinned
