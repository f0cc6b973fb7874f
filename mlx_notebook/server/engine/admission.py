"""Refuse requests for which the queue has no room, and models that crash the engine."""

from mlx_notebook.protocol import Embed, Generate, Rerank, Speak, Tokenize, Transcribe
from mlx_notebook.server.engine.in_flight_requests import MAX_CRASHES
from mlx_notebook.server.engine.supervisor import Supervisor
from mlx_notebook.server.errors import QueueFull, Unavailable


class Admission:
    """Checks of a request before it is sent to the engine.

    A user may take as many places as are left free for others. So one user fills half of the queue,
    two greedy ones fill a third each, and there is always room for another.

    Parameters
    ----------
    supervisor
        Owner of the engine process. It knows the limits, and the requests in flight.
    """

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._flights = supervisor.in_flight

    def check_rows(
        self, command: Generate | Transcribe | Speak, owner: str, wanted: int, more: int = 0
    ) -> None:
        """Check that the queue has room for a request that needs rows of the batch.

        Parameters
        ----------
        owner
            The user who sends it.
        wanted
            How many rows it needs.
        more
            How many rows there are for it beyond those for all requests.

        Raises
        ------
        QueueFull
            If it has not.
        """
        streams = [stream for stream in self._flights.streams if not stream.patient]
        own = sum(stream.rows for stream in streams if stream.owner == owner)
        rows = sum(stream.rows for stream in streams) - more
        self._check_queue(rows, wanted, own if command.user else 0)

    def check_without_rows(self, command: Tokenize | Embed | Rerank, owner: str) -> None:
        """Check that there is room for a request that takes no row: such have a limit of their own.

        Raises
        ------
        QueueFull
            If there is none.
        """
        taken = [stream for stream in self._flights.without_rows if not stream.patient]
        own = sum(stream.owner == owner for stream in taken) if command.user else 0
        self._check_queue(len(taken), 1, own)

    def check_model(self, model: str) -> None:
        """Check that the engine has not crashed several times in a row with a model.

        Raises
        ------
        Unavailable
            If it has.
        """
        if self._flights.is_refused(model):
            raise Unavailable(
                f"The engine ended {MAX_CRASHES} times in a row while it loaded or ran the model "
                f"{model!r}, so the model is not tried again. `%mlx load {model}` (POST "
                "mlx/models/load) allows it again. A smaller model or a shorter context may help.",
                param="model",
                code="model_refused",
                headers={"x-should-retry": "false"},
            )

    def _check_queue(self, taken: int, wanted: int, own: int) -> None:
        """Check that so many places are free; `own` of those taken belong to the request's user."""
        supervisor = self._supervisor
        free = supervisor.config.max_batch + supervisor.limits.queue - taken
        if own and wanted <= free < own + wanted:
            raise QueueFull(
                f"{own} of your requests are running or waiting, the most that one user may have "
                "now, so that others get in. Try again in a moment.",
                headers={"Retry-After": "2"},
            )
        if wanted > free:
            raise QueueFull(
                f"{taken} requests are running or waiting, the most that this server accepts. Try "
                "again in a moment.",
                headers={"Retry-After": "2"},
            )
