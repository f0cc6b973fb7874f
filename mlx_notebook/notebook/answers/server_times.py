"""How long the server took for the first token of an answer, which is not the network's fault."""

from dataclasses import dataclass
from typing import Any, Self

# A part that took less is left out, in seconds.
_SHORTEST = 0.05


@dataclass(frozen=True)
class ServerTimes:
    """Times in seconds, measured by the server.

    Attributes
    ----------
    first_token
        From when the server had the request until it sent the first token.
    queued, loading, prefill
        The parts of it: waiting, loading the model, and computing the prompt.
    """

    first_token: float
    queued: float
    loading: float
    prefill: float

    @classmethod
    def of(cls, sent: Any) -> Self | None:
        """Return the times of the last chunk of a stream; `None` if it has none that are usable."""
        if not isinstance(sent, dict):
            return None
        times = [sent.get(name) for name in ("first_token", "queued", "loading", "prefill")]
        # A recording may hold anything.
        if not all(isinstance(time, int | float) and 0 <= time < 1e9 for time in times):
            return None
        return cls(*(float(str(time)) for time in times))

    def describe(self) -> str:
        """Describe the times in one line: `1.5 s model (queue 0.2, prompt 1.3)`.

        What is left, such as the start of the engine, is called `server`.
        """
        rest = self.first_token - self.queued - self.loading - self.prefill
        named = {
            "server": rest,
            "queue": self.queued,
            "load": self.loading,
            "prompt": self.prefill,
        }
        parts = [f"{name} {took:.1f}" for name, took in named.items() if took >= _SHORTEST]
        return f"{self.first_token:.1f} s model" + (f" ({', '.join(parts)})" if parts else "")
