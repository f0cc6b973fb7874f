"""Handle `mlx/usage` and `mlx/metrics`: what each user asks for, in numbers."""

from collections.abc import Iterable
from itertools import chain
from typing import Any

import prometheus_client
from jupyter_server.auth.decorator import authorized
from tornado import web

from mlx_notebook.protocol import LiveRequest
from mlx_notebook.server.api.http.base import ApiHandler
from mlx_notebook.server.engine.request_stream import RequestStream
from mlx_notebook.server.errors import Forbidden
from mlx_notebook.server.identity import owner
from mlx_notebook.server.services import Services
from mlx_notebook.server.telemetry.usage_ledger import (
    USERS,
    UserCounts,
    summarise_times,
    user_name,
)
from mlx_notebook.server.wire.native import usage_types as wire

_SUMMED = (
    *("requests", "cancelled", "failed", "refused"),
    *("prompt_tokens", "cached_tokens", "generated_tokens"),
)


class UsageHandler(ApiHandler):
    """Report the usage."""

    _track_activity = False

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Answer with the usage of all users for an admin, else with the caller's own."""
        services = self.services
        sees_all = self.user.admin or await self.visible_owner() is None
        self.answer(usage_report(services, None if sees_all else await owner(self)))


class UserMetricsHandler(ApiHandler):
    """Serve the metrics of users to Prometheus."""

    _track_activity = False

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Answer with the counters of all users in Prometheus's text format, for an admin."""
        if not self.user.admin:
            raise Forbidden(
                "Only an admin may read the usage of all users. mlx/usage shows your own."
            )
        text = prometheus_client.generate_latest(USERS)
        self.finish(text, set_content_type=prometheus_client.CONTENT_TYPE_LATEST)


def usage_report(services: Services, user: str | None) -> wire.UsageReport:
    """Return today's usage.

    Parameters
    ----------
    services
        Parts of the server.
    user
        User whose usage is listed; None for all users.
    """
    ledger = services.engine.usage
    today = ledger.today()
    stats = services.supervisor.telemetry.stats
    live = {request.id: request for request in stats.requests} if stats else {}
    streams: dict[str, list[RequestStream]] = {}
    for stream in (*services.supervisor.in_flight.requests, *services.upstreams.streams):
        streams.setdefault(stream.owner, []).append(stream)
    shown = sorted({*today, *streams}) if user is None else [user]
    return wire.UsageReport(
        since=round(ledger.since, 3),
        all_users=user is None,
        admin_reads_texts=services.admin_reads_texts,
        users=[
            wire.UserUsage(
                user=user_name(each),
                **_figures([today.get(each, UserCounts())], streams.get(each, ()), live),
            )
            for each in shown
        ],
        totals=wire.UsageCounts(
            **_figures(list(today.values()), list(chain(*streams.values())), live)
        ),
    )


def _figures(
    counts: list[UserCounts], streams: Iterable[RequestStream], live: dict[str, LiveRequest]
) -> dict[str, Any]:
    """Return the fields of `UsageCounts` for the counts and the requests of some users."""
    streams = list(streams)
    known = [request for stream in streams if (request := live.get(stream.id))]
    running = [request for request in known if request.phase in ("prefill", "decode")]
    # An upstream does not say how far a request is. Only requests to the engine need a model.
    at_upstreams = sum(not stream.needs_model for stream in streams)
    median, p95 = summarise_times(chain(*(each.first_tokens for each in counts)))
    return {
        "running": len(running) + at_upstreams,
        "waiting": len(streams) - len(running) - at_upstreams,
        **{name: sum(getattr(each, name) for each in counts) for name in _SUMMED},
        "tokens_per_second": round(sum((each.tokens_per_second for each in running), 0.0), 2),
        "first_token": median,
        "first_token_p95": p95,
        "last_request": max((each.last_request or 0.0 for each in counts), default=0.0) or None,
    }
