"""The requests that have not ended, and how many have ended in which way."""

from collections import Counter
from collections.abc import Callable, Iterator

from mlx_notebook.engine.errors import EngineError
from mlx_notebook.engine.generation.request import Request, RequestState
from mlx_notebook.protocol import Event, Generate


class LiveRequests:
    """The requests that have not ended, by id.

    Parameters
    ----------
    send
        Called with events for the server.

    Attributes
    ----------
    patient
        How many of them nobody waits for.
    total
        How many requests have arrived.
    ended
        How many requests have ended in each state.
    """

    def __init__(self, send: Callable[[list[Event]], None]):
        self._send = send
        self._requests: dict[str, Request] = {}
        self.patient = self.total = 0
        self.ended: Counter[RequestState] = Counter()

    def __len__(self) -> int:
        return len(self._requests)

    def __iter__(self) -> Iterator[Request]:
        return iter(list(self._requests.values()))

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._requests

    def get(self, job_id: str) -> Request | None:
        """Return a request; None if it has ended, or if the job is not a request."""
        return self._requests.get(job_id)

    @property
    def waited_for(self) -> int:
        """How many of them are not patient."""
        return len(self._requests) - self.patient

    def rows_of_users(self, model: str, *, patient: bool = False) -> Counter[str]:
        """Return how many rows of a model's batch each user has, or will have.

        Parameters
        ----------
        patient
            Count those of patient requests, and not those of all others.
        """
        rows = Counter[str]()
        for request in self._requests.values():
            command = request.command
            if command.model == model and command.patient == patient:
                rows[request.command.user] += request.rows
        return rows

    def add(self, command: Generate) -> None:
        """Add the request of a command that has just arrived."""
        self._requests[command.id] = Request(command)
        self.total += 1
        self.patient += command.patient

    def remove(self, request: Request) -> None:
        """Remove a request that has ended, and count it."""
        del self._requests[request.id]
        self.patient -= request.command.patient
        self.ended[request.state] += 1

    def cancel(self, request_id: str) -> Request | None:
        """End a request that nobody waits for; return it, or None if there is none."""
        request = self.get(request_id)
        if request is not None:
            request.enter(RequestState.CANCELLED)
            self.remove(request)
        return request

    def fail(self, job_id: str, error: EngineError) -> None:
        """End a request or another job with an error, and send it."""
        request = self.get(job_id)
        if request is not None:
            request.enter(RequestState.FAILED)
            self.remove(request)
        self._send([error.event(job_id)])
