"""Carries out the server's commands: begins jobs and prepares them, cancels, unloads, pins."""

import logging
import time
from collections.abc import Callable
from functools import partial

from mlx_notebook.engine.errors import Cancelled, EngineError, InvalidRequest
from mlx_notebook.engine.generation.audio_job import AudioJob
from mlx_notebook.engine.generation.embedding_job import EmbeddingJob
from mlx_notebook.engine.generation.prompt_scoring import ScoringJob
from mlx_notebook.engine.generation.request import PreparedRequest, Request, RequestState
from mlx_notebook.engine.generation.reranking_job import RerankingJob
from mlx_notebook.engine.kv_cache.disk.block_file import Arrays
from mlx_notebook.engine.kv_cache.prefix_cache import PrefixCache
from mlx_notebook.engine.residency.memory_reservations import MemoryReservations
from mlx_notebook.engine.residency.model_queues import ModelQueues, ModelSpec
from mlx_notebook.engine.residency.residency import Residency
from mlx_notebook.engine.residency.resident_model import ResidentModel
from mlx_notebook.engine.scheduling.live_requests import LiveRequests
from mlx_notebook.engine.scheduling.meter import Meter
from mlx_notebook.engine.scheduling.prompt_workers import Outcome, PromptJob, PromptWorkers
from mlx_notebook.protocol import (
    Cancel,
    Command,
    Configure,
    Embed,
    Event,
    Generate,
    Load,
    Loading,
    Pin,
    Pinned,
    Release,
    Rerank,
    Reserve,
    Shutdown,
    Speak,
    Tokenize,
    Tokenized,
    Touch,
    Transcribe,
    Unload,
    Unloaded,
)

log = logging.getLogger(__name__)


class Commands:
    """Carries out commands, in the thread that owns MLX.

    A job (`Generate`, `Tokenize`, `Embed`, `Rerank`, `Transcribe`, `Speak`) waits in a queue until
    its model is in memory. Then workers prepare it, and it ends as a ready request, a side job, or
    an answer.

    Parameters
    ----------
    residency, queues, workers, prefixes, requests, meter, reservations
        Those of the scheduler.
    send
        Called with events for the server.

    Attributes
    ----------
    stopping
        Whether `Shutdown` has arrived.
    """

    def __init__(
        self,
        residency: Residency,
        queues: ModelQueues,
        workers: PromptWorkers,
        prefixes: PrefixCache,
        requests: LiveRequests,
        meter: Meter,
        reservations: MemoryReservations,
        send: Callable[[list[Event]], None],
    ):
        self._residency, self._queues = residency, queues
        self._workers, self._prefixes = workers, prefixes
        self._requests, self._meter, self._send = requests, meter, send
        self._reservations = reservations
        self.stopping = False

    def carry_out(self, command: Command) -> None:
        """Carry out one command."""
        match command:
            case Generate() if command.id in self._requests:
                log.error("request %s came twice: the second one is dropped", command.id)
            case Generate():
                self._requests.add(command)
                self._arrive(command)
            case Tokenize() | Embed() | Rerank() | Transcribe() | Speak():
                self._arrive(command)
            case Load():
                self._queues.add(command)
            case Cancel():
                self._cancel(command.id)
            case Unload():
                self._unload(command)
            case Pin():
                self._pin(command)
            case Touch():
                if (resident := self._residency.models.get(command.model)) is not None:
                    resident.keep()
            case Reserve():
                self._reservations.ask(command)
            case Release():
                self._reservations.release(command.holder)
            case Configure():
                self._residency.idle_unload_minutes = command.idle_unload_minutes
            case Shutdown():
                self.stopping = True

    def _arrive(self, job: PromptJob) -> None:
        """Begin a job if its model is in memory and may take it; otherwise add it to a queue."""
        resident = self._residency.usable(job.model, ModelSpec.of(job))
        held = job.model in self._residency.held or self._queues.get(job.model) is not None
        if resident is not None and not held:
            self.begin(job, resident)
            return
        self._queues.add(job)
        self._send([Loading(job.id, job.model, 0.0)])

    def begin(self, job: PromptJob, resident: ResidentModel) -> None:
        """Have a worker prepare a job whose model is in memory."""
        request = self._requests.get(job.id)
        if request is not None:
            request.enter(RequestState.PREPARING)
            if not (request.command.urgent or request.command.patient):
                resident.gathering.arrived(time.perf_counter())
        resident.preparing.add(job.id)
        self._workers.prepare(job, resident.backend, partial(self._prepared, job, resident))

    def _prepared(self, job: PromptJob, resident: ResidentModel, outcome: Outcome) -> None:
        """Go on with what a worker made of a job."""
        resident.preparing.discard(job.id)
        if self._residency.models.get(job.model) is not resident:
            if not isinstance(job, Generate):  # a request was ended when its model was unloaded
                gone = EngineError(f"{job.model} was unloaded meanwhile: ask again.")
                self._requests.fail(job.id, gone)
            return
        match outcome:
            case PreparedRequest():
                request = self._requests.get(job.id)
                if request is not None:  # otherwise it was cancelled
                    self._request_prepared(request, resident, outcome)
            case EmbeddingJob() | RerankingJob() | AudioJob():
                resident.side_jobs.append(outcome)
            case Tokenized():
                self._send([outcome])
            case Cancelled():
                pass
            case EngineError():
                self._requests.fail(job.id, outcome)

    def _request_prepared(
        self, request: Request, resident: ResidentModel, prepared: PreparedRequest
    ) -> None:
        """Have a request's prompt scored, or its KV cache read from disk, or make it ready."""
        request.prepared = prepared
        prompt, command = prepared.prompt, request.command
        if command.prompt_logprobs is not None:
            assert resident.runner is not None
            request.enter(RequestState.SCORING)
            resident.side_jobs.append(
                ScoringJob(
                    request.id,
                    prompt.tokens,
                    command.prompt_logprobs,
                    resident.runner.backend,
                    command.attention_from,
                    command.user,
                    command.patient,
                )
            )
            return
        in_memory = self._prefixes.covered(
            command.model, prompt.cache_keys, prompt.salt, prompt.shared
        )
        if prepared.on_disk <= in_memory:
            request.enter(RequestState.READY)
            resident.ready.append(request)
            return
        request.enter(RequestState.RESTORING)
        resident.preparing.add(request.id)
        then = partial(self._prefix_read, request, resident, prepared)
        self._workers.read_prefix(command.model, prompt, then)

    def _prefix_read(
        self,
        request: Request,
        resident: ResidentModel,
        prepared: PreparedRequest,
        count: int,
        arrays: Arrays,
    ) -> None:
        """Put what was read from disk into the prefix cache; the request is ready."""
        resident.preparing.discard(request.id)
        if request.state is not RequestState.RESTORING:  # it was cancelled or has failed
            return
        prompt = prepared.prompt
        self._prefixes.restore(request.command.model, prompt.cache_keys, count, arrays, prompt.salt)
        request.enter(RequestState.READY)
        resident.ready.append(request)

    def _cancel(self, job_id: str) -> None:
        self._workers.cancel(job_id)
        self._reservations.cancel(job_id)
        request = self._requests.cancel(job_id)
        job = self._queues.remove(job_id)
        if job is not None:
            # A load goes on after its request was cancelled, for the next request; but not if a
            # `Load` command itself was cancelled, nor while another model waits.
            unwanted = self._queues.get(job.model) is None
            reading = self._residency.reading == job.model
            if unwanted and (isinstance(job, Load) or len(self._queues) or not reading):
                self._residency.abandon(job.model)
            return
        for resident in self._residency.models.values():
            resident.remove(job_id)
            runner = resident.runner
            if (
                request is not None
                and request.command.model == resident.name
                and runner is not None
            ):
                runner.drop(request)

    def _unload(self, command: Unload) -> None:
        model = command.model
        resident = self._residency.models.get(model)
        queue = self._queues.get(model)
        if (resident is not None and resident.busy) or (queue is not None and not queue.only_loads):
            message = f"{model} is answering requests: cancel them first, or wait."
            self._requests.fail(command.id, InvalidRequest(message, "model"))
            return
        for job in self._queues.pop(model):
            self._requests.fail(job.id, InvalidRequest(f"{model} was unloaded meanwhile.", "model"))
        self._residency.abandon(model)
        freed = self._residency.unload(model) if resident is not None else 0
        # The statistics come first, so that a client that gets the answer sees them up to date.
        self._send([self._meter.stats(), Unloaded(command.id, model, freed)])

    def _pin(self, command: Pin) -> None:
        resident = self._residency.models.get(command.model)
        if resident is None:
            message = f"{command.model} is not in memory: load it first."
            self._requests.fail(command.id, InvalidRequest(message, "model"))
            return
        resident.pinned = command.pinned
        self._send([self._meter.stats(), Pinned(command.id, command.model, command.pinned)])
