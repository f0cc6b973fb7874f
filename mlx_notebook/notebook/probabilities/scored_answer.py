"""An answer with the probability of each token, as `look_inside` returns it."""

import math
import sys
from dataclasses import dataclass, field
from typing import Any

from mlx_notebook.notebook.human_units import plural
from mlx_notebook.notebook.probabilities.scored_tokens import (
    Attention,
    PromptPart,
    PromptToken,
    ScoredToken,
)
from mlx_notebook.notebook.probabilities.token_html import LIKELY, answer_html


@dataclass(frozen=True, repr=False)
class ScoredAnswer:
    """An answer with the probability of each token. A cell shows it in colours.

    Attributes
    ----------
    model
        Name of the model.
    text
        The answer.
    tokens
        Its tokens.
    prompt
        The rendered prompt, token by token.
    parts
        The parts of the user's message and what the answer owes to each; empty if that was not
        asked for.
    attention
        What the model attended to in the prompt; None if that was not asked for.
    """

    model: str
    text: str
    tokens: list[ScoredToken]
    prompt: list[PromptToken] = field(default_factory=list)
    parts: list[PromptPart] = field(default_factory=list)
    attention: Attention | None = None

    @property
    def perplexity(self) -> float:
        """How many equally likely tokens the model chose from on average. NaN without tokens.

        Forced tokens do not count.
        """
        chosen = [token for token in self.tokens if not token.forced]
        if not chosen:
            return math.nan
        # A probability may be too small for a float.
        logs = [math.log(max(token.probability, sys.float_info.min)) for token in chosen]
        return math.exp(-sum(logs) / len(logs))

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each token, for `pandas.DataFrame`."""
        return [
            {
                "token": token.text,
                "probability": token.probability,
                "entropy": token.entropy,
                "forced": token.forced,
                "alternatives": dict(token.alternatives),
            }
            for token in self.tokens
        ]

    @property
    def summary(self) -> str:
        """One line: the model, how many tokens, how many were forced, and the perplexity."""
        parts = [self.model, plural(len(self.tokens), "token")]
        if forced := sum(token.forced for token in self.tokens):
            parts.append(f"{forced} forced by the schema or grammar")
        if not math.isnan(self.perplexity):
            parts.append(f"perplexity {self.perplexity:.2f}")
        return " · ".join(parts)

    def __repr__(self) -> str:
        """Return the answer with the unlikely tokens marked by their probability."""
        marked = "".join(
            f"{token.text}[{token.probability:.0%}]"
            if token.probability < LIKELY and not token.forced
            else token.text
            for token in self.tokens
        )
        return f"{marked}\n{self.summary}"

    def _repr_html_(self) -> str:
        return answer_html(self.summary, self.tokens, self.parts, self.prompt, self.attention)
