"""Tokens with what the model held possible in their place, and tokens and parts of prompts."""

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ScoredToken:
    """A token of the answer, and what the model held possible in its place.

    Attributes
    ----------
    text
        The token.
    probability
        Of the token in the model's own distribution, before temperature and filters. From 0 to 1.
    alternatives
        The most likely tokens and their probabilities, with this one among them if it is one.
    entropy
        How open the choice was, in bits: 0 for a certain token, 1 for a choice between two equally
        likely ones. None if the server does not tell it.
    forced
        Whether a schema or grammar allowed no other token.
    """

    text: str
    probability: float
    alternatives: tuple[tuple[str, float], ...] = ()
    entropy: float | None = None
    forced: bool = False

    @classmethod
    def of(cls, entry: dict[str, Any]) -> "ScoredToken":
        """Return a token from an entry of `logprobs` of `v1/chat/completions`."""
        top = ((other["token"], math.exp(other["logprob"])) for other in entry["top_logprobs"])
        nats = entry.get("entropy")
        return cls(
            entry["token"],
            math.exp(entry["logprob"]),
            tuple(top),
            None if nats is None else nats / math.log(2),
            entry.get("forced", False),
        )


@dataclass(frozen=True)
class PromptToken:
    """A token of the rendered prompt. `is_cached`: the prefix cache had it, so it cost nothing."""

    id: int
    text: str
    is_cached: bool = False


@dataclass(frozen=True)
class Attention:
    """What the model attended to in the prompt while it chose the tokens of the answer.

    Weights are means over layers and heads, from 0 to 1.

    Attributes
    ----------
    layers
        How many layers were recorded.
    mean
        Of each token of the prompt: the mean over the tokens of the answer.
    tokens
        Of each token of the answer: the ten tokens of the prompt with the largest weights, as pairs
        of place (from 0) and weight.
    """

    layers: int
    mean: list[float]
    tokens: list[list[tuple[int, float]]]


@dataclass(frozen=True)
class PromptPart:
    """A part of the prompt, and what the answer owes to it.

    Attributes
    ----------
    text
        The part.
    importance
        How much less likely the answer is without it, in bits. Negative: it is more likely then.
    """

    text: str
    importance: float
