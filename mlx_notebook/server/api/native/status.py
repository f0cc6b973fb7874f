"""Handle `health`, `mlx/status`, `mlx/events` and `mlx/cancel`."""

from typing import NamedTuple

import anyio
import msgspec
from jupyter_server.auth.decorator import authorized
from tornado import web

from mlx_notebook.protocol import RequestPhase, Stats
from mlx_notebook.server import errors
from mlx_notebook.server.api.http.base import ApiHandler, ends_with_client
from mlx_notebook.server.api.http.event_stream import EventStreamHandler
from mlx_notebook.server.api.native.active_jobs import active_jobs
from mlx_notebook.server.api.native.catalog_list import loading_models, memory_budget
from mlx_notebook.server.engine.request_stream import RequestStream
from mlx_notebook.server.engine.supervisor import Supervisor
from mlx_notebook.server.services import Services
from mlx_notebook.server.wire.native import status_types as wire

_MIN_INTERVAL = 0.25
_HISTORY_SECONDS = 1.0
_KEEP_ALIVE_SECONDS = 10.0
# Prefix in place of the ids of other users' requests.
_OTHERS = "other-"


class Caller(NamedTuple):
    """Say what the caller of a status may see.

    Attributes
    ----------
    owner
        User whose requests are shown with their ids; None for those of all users.
    settings_user
        User whose default model is shown.
    admin
        Whether the requests of other users are shown too, without their ids.
    """

    owner: str | None
    settings_user: str
    admin: bool


def current_status(services: Services, caller: Caller) -> wire.ServerStatus:
    """Return the status of the engine, the models and the requests.

    Parameters
    ----------
    services
        Parts of the server.
    caller
        Who asks.
    """
    supervisor = services.supervisor
    telemetry, stats = supervisor.telemetry, supervisor.telemetry.stats
    requests = [
        *_requests(supervisor, caller.owner),
        *(_upstream_request(stream, caller.owner) for stream in services.upstreams.streams),
    ]
    waiting = sum(request.phase in ("queued", "loading") for request in requests)
    rows = sum(stream.rows for stream in supervisor.in_flight.streams)
    return wire.ServerStatus(
        engine=supervisor.status,
        default_model=services.catalog.default_now(caller.settings_user),
        loading=loading_models(services),
        progress=_progress(stats),
        models=[
            wire.ResidentModel(
                model.model,
                model.bytes,
                model.context_length,
                model.loaded_at,
                model.last_used,
                model.active,
                model.pinned,
                model.vision,
            )
            for model in (stats.resident if stats else [])
        ],
        budget=memory_budget(services),
        downloads=[
            wire.DownloadStatus(name, progress.done, progress.total, progress.seconds_left)
            for name, download in services.downloads.current.items()
            if (progress := download.progress)
        ],
        requests=[request for request in requests if request.own or caller.admin],
        jobs=[job for job in active_jobs(services, caller.owner) if job.own or caller.admin],
        queue=wire.QueueStatus(
            rows=rows,
            running=len(requests) - waiting,
            waiting=waiting,
            batch=supervisor.config.max_batch,
            limit=supervisor.limits.queue,
        ),
        rates=wire.Rates(stats.decode_rate if stats else 0.0, stats.prefill_rate if stats else 0.0),
        totals=telemetry.totals,
        memory=wire.MemoryStatus(**msgspec.structs.asdict(telemetry.memory)),
        ranks=[
            wire.EngineRank(
                rank.rank,
                rank.host,
                rank.pid or None,
                rank.active_bytes,
                rank.peak_bytes,
                round(rank.waited_seconds, 1),
            )
            for rank in (stats.ranks if stats else [])
        ],
        prefix_disk=wire.PrefixDiskStatus(
            telemetry.disk.written,
            supervisor.config.prefix_disk_hourly_bytes,
            telemetry.disk.skipped,
        ),
        history=list(telemetry.history),
        keep_alive_seconds=services.limits.keep_alive_seconds,
    )


def _progress(stats: Stats | None) -> wire.LoadingModel | None:
    if stats is None or (progress := stats.progress) is None:
        return None
    return wire.LoadingModel(progress.model, progress.done, progress.total)


def _requests(supervisor: Supervisor, user: str | None) -> list[wire.RequestStatus]:
    """Return the requests in flight. Those that the engine does not report yet are queued."""
    stats = supervisor.telemetry.stats
    live = {request.id: request for request in stats.requests} if stats else {}
    described = []
    for stream in supervisor.in_flight.requests:
        own = user in (None, stream.owner)
        id = stream.id if own else f"{_OTHERS}{stream.number}"
        if (request := live.get(stream.id)) is not None:
            described.append(
                wire.RequestStatus(
                    id,
                    request.model,
                    request.phase,
                    request.prompt_tokens,
                    request.cached_tokens,
                    request.prefilled,
                    request.generated_tokens,
                    round(request.tokens_per_second, 2),
                    round(stream.age, 3),
                    own,
                )
            )
        else:
            described.append(
                wire.RequestStatus(
                    id, stream.model, _phase(stream), 0, 0, 0, 0, 0.0, round(stream.age, 3), own
                )
            )
    return described


def _phase(stream: RequestStream) -> RequestPhase:
    """Return the phase of a request that the engine does not report: new ones, transcriptions."""
    if stream.waits_for_model is not False:
        return "queued"
    return "decode" if stream.has_output else "prefill"


def _upstream_request(stream: RequestStream, user: str | None) -> wire.RequestStatus:
    """Return a request that runs at an upstream, which does not tell how many tokens it has."""
    own = user in (None, stream.owner)
    id = stream.id if own else f"{_OTHERS}{stream.number}"
    phase: RequestPhase = "decode" if stream.has_output else "prefill"
    return wire.RequestStatus(id, stream.model, phase, 0, 0, 0, 0, 0.0, round(stream.age, 3), own)


class HealthHandler(ApiHandler):
    """Tell whether requests can be served."""

    _track_activity = False

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Answer "ok", or 503 if the engine cannot be used."""
        supervisor = self.services.supervisor
        if (failure := supervisor.failure) is not None:
            # Retry here, since a load balancer would send no request that starts the engine.
            supervisor.retry_start()
            raise failure
        self.answer(wire.Health())


async def _caller(handler: ApiHandler) -> Caller:
    return Caller(await handler.visible_owner(), await handler.settings_user(), handler.user.admin)


class StatusHandler(ApiHandler):
    """Show the status that the panels display."""

    _track_activity = False

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Answer with the current status."""
        await self.services.catalog.default()
        self.answer(current_status(self.services, await _caller(self)))


class EventsHandler(EventStreamHandler):
    """Stream the status."""

    _track_activity = False

    @web.authenticated
    @authorized
    @ends_with_client
    async def get(self) -> None:
        """Send the status at once, and then whenever it changes, at most four times a second.

        The history gets a point every second, so the status is sent every second until all points
        are equal. Then charts stop moving.
        """
        supervisor = self.services.supervisor
        await self.services.catalog.default()
        caller = await _caller(self)
        encoder = msgspec.json.Encoder()
        async with self.event_stream():
            while True:
                version = supervisor.version
                status = encoder.encode(current_status(self.services, caller))
                await self.send(b"data: %b\n\n" % status)
                await anyio.sleep(_MIN_INTERVAL)
                while supervisor.version == version:
                    is_moving = supervisor.telemetry.is_moving
                    with anyio.move_on_after(
                        _HISTORY_SECONDS if is_moving else _KEEP_ALIVE_SECONDS
                    ):
                        await supervisor.wait_for_change(version)
                        break
                    if is_moving:
                        break
                    await self.send_comment("keep-alive")


class CancelHandler(ApiHandler):
    """Cancel a request."""

    @web.authenticated
    @authorized
    async def post(self, id: str) -> None:
        """Cancel it at its next step."""
        if not self.services.requests.cancel(id, await self.visible_owner()):
            raise errors.NotFound(
                f"There is no running request {id[:100]!r}. mlx/status lists the running ones.",
                code="request_not_found",
            )
        self.answer(wire.CancelledRequest(id))
