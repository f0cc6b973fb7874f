"""The panel Activity: speed, requests, memory and caches."""

from statistics import median
from typing import Any

from mlx_notebook.panels.base.panel import Panel, module
from mlx_notebook.panels.base.server_watcher import ServerWatcher

_POINT = ("decode", "prefill", "active", "memory")


class StatsPanel(Panel):
    """Activity of the last two minutes, and the running requests with a button to cancel each."""

    _esm = module("stats/stats")
    name = "Activity"
    topics = frozenset({"traces"})

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._context: dict[str, Any] | None = None
        super().__init__(*args, **kwargs)

    def build_fields(self, source: ServerWatcher) -> dict[str, Any]:
        """Return rates, totals, memory, history, the running requests and the jobs."""
        status = source.status
        if status is None:
            return {}
        limits = {model["id"]: model["context_length"] for model in status["models"]}
        requests = {
            request["id"]: {**request, "age": None, "limit": limits.get(request["model"])}
            for request in status["requests"]
        }
        self._context = _context(requests, source.traces or [], limits) or self._context
        first_tokens = [
            trace["first_token"] for trace in (source.traces or ())[:20] if trace.get("first_token")
        ]
        return {
            "rates": status["rates"],
            "queue": status["queue"],
            "totals": status["totals"],
            "memory": status["memory"],
            "ranks": {str(rank["rank"]): rank for rank in status.get("ranks", ())},
            "requests": requests,
            "jobs": {job["id"]: job for job in status.get("jobs", ())},
            "context": self._context and {**self._context, "running": bool(requests)},
            "first_token": median(first_tokens) if first_tokens else None,
            "round_trip": source.round_trip and round(source.round_trip, 3),
            "history": {
                str(int(point["time"])): [round(point[name], 1) for name in _POINT]
                for point in status["history"]
            },
        }

    def summary_rows(self) -> list[tuple[str, str]]:
        """Return the totals."""
        totals = self.fields.get("totals") or {}
        return [(name.replace("_", " "), f"{value:,}") for name, value in totals.items()]

    async def do_cancel(self, id: str) -> Any:
        """Cancel a request."""
        return await self.post(f"mlx/cancel/{id}")


def _context(
    requests: dict[str, dict[str, Any]], traces: list[dict[str, Any]], limits: dict[str, int]
) -> dict[str, Any] | None:
    """Return the largest context in use, in tokens; of the last request if none is running."""
    contexts = [
        {"used": request["prompt_tokens"] + request["generated_tokens"], "limit": request["limit"]}
        for request in requests.values()
        if request["limit"] and request["prompt_tokens"]
    ]
    last = traces[0] if traces and not requests else {}
    if (usage := last.get("usage")) and (limit := limits.get(last["model"])):
        contexts = [{"used": usage["prompt_tokens"] + usage["completion_tokens"], "limit": limit}]
    return max(contexts, key=lambda one: float(one["used"] / one["limit"]), default=None)


def stats_panel() -> StatsPanel:
    """Create a panel of the server's activity. Display it as the last expression of a cell.

    Returns
    -------
    StatsPanel
        The panel.

    Examples
    --------
    >>> mlx_notebook.stats_panel()
    """
    return StatsPanel()
