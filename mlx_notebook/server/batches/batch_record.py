"""Describe a batch of requests: what is kept of it, and which states it goes through.

validating -> in_progress -> finalizing -> completed
A batch whose file has errors is failed. One that is cancelled is cancelling until its lines in
flight have stopped, then cancelled. One whose time is over is expired. Anthropic's batches have
these states too, and their clients see fewer of them.
"""

from typing import Literal

import msgspec

from mlx_notebook.server.users.user import User

BatchKind = Literal["openai", "anthropic"]
BatchStatus = Literal[
    "validating",
    "failed",
    "in_progress",
    "finalizing",
    "completed",
    "expired",
    "cancelling",
    "cancelled",
]
LineOutcome = Literal["succeeded", "errored", "cancelled", "expired"]
ENDED: frozenset[BatchStatus] = frozenset(("failed", "completed", "expired", "cancelled"))


class Sender(msgspec.Struct, frozen=True):
    """The user as whom the lines of a batch run, and the trace that they belong to.

    Attributes
    ----------
    owner
        Stable name of the user (see `identity.owner`).
    username
        Name of the user in the log.
    user
        The user with the groups and rights that they had when they made the batch.
    trace_context
        The headers by which the lines are reported as children of the request for the batch.
    """

    owner: str
    username: str
    user: User
    trace_context: tuple[tuple[str, str], ...] = ()


class LineError(msgspec.Struct, omit_defaults=True):
    """An error in the file of a batch, or of the batch as a whole."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


class OutcomeCounts(msgspec.Struct, kw_only=True):
    """How many lines have ended in which way."""

    succeeded: int = 0
    errored: int = 0
    cancelled: int = 0
    expired: int = 0


class BatchRecord(msgspec.Struct, kw_only=True):
    """What is kept of a batch, beside its lines.

    Attributes
    ----------
    endpoint
        The route to which the lines go, for example `v1/chat/completions`.
    expires_at
        When its time is over, as a Unix time.
    window
        How long the batch may take, as its request says it.
    keep_seconds
        How long its output files are kept; None until they are deleted.
    times
        When it came into each state, as Unix times.
    total
        How many lines it has.
    counts
        How they have ended.
    errors
        Why it has failed.
    """

    id: str
    kind: BatchKind
    endpoint: str
    sender: Sender
    status: BatchStatus
    expires_at: float
    input_file_id: str = ""
    window: str = "24h"
    keep_seconds: int | None = None
    metadata: dict[str, str] | None = None
    times: dict[str, float] = {}
    total: int = 0
    counts: OutcomeCounts = msgspec.field(default_factory=OutcomeCounts)
    errors: list[LineError] = []
    output_file_id: str | None = None
    error_file_id: str | None = None

    @property
    def owner(self) -> str:
        """The user whose batch it is."""
        return self.sender.owner

    @property
    def ended(self) -> bool:
        """Whether nothing more happens to it."""
        return self.status in ENDED

    def enter(self, status: BatchStatus, now: float) -> None:
        """Go into another state."""
        self.status = status
        self.times = {**self.times, status: now}


class BatchProgress(msgspec.Struct, frozen=True):
    """How far a batch is that runs: how many of its lines have ended."""

    id: str
    owner: str
    endpoint: str
    status: BatchStatus
    done: int
    total: int


class WaitingLine(msgspec.Struct):
    """A line that is not answered.

    Attributes
    ----------
    number
        Its place in the batch.
    request
        The body of its request, as JSON.
    attempts
        How often the server or the engine has failed on it.
    """

    number: int
    custom_id: str
    request: bytes
    attempts: int = 0
