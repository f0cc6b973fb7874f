"""Log probabilities of answer tokens, as `v1/chat/completions` and `v1/responses` send them."""

from msgspec import Struct

from mlx_notebook import protocol


class TopLogprob(Struct):
    """One of the most likely tokens at a position, as text and as UTF-8 bytes."""

    token: str
    logprob: float
    bytes: list[int]


class Logprob(Struct):
    """A token of the answer, with the most likely tokens at its position."""

    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list[TopLogprob]

    @classmethod
    def of(cls, token: protocol.TokenLogprob) -> "Logprob":
        """Return the engine's log probabilities of a token in OpenAI's shape."""
        top = [TopLogprob(text, logprob, raw) for text, logprob, raw in token.top]
        return cls(token.token, token.logprob, token.bytes, top)
