"""Log probabilities of answer tokens, as `v1/chat/completions` and `v1/responses` send them."""

from msgspec import UNSET, Struct, UnsetType

from mlx_notebook import protocol


class TopLogprob(Struct):
    """One of the most likely tokens at a position, as text and as UTF-8 bytes."""

    token: str
    logprob: float
    bytes: list[int]


class Logprob(Struct):
    """A token of the answer, with the most likely tokens at its position.

    Attributes
    ----------
    entropy
        Of the model's distribution at this position, in nats. It is not part of OpenAI's API.
    forced
        Whether the format or grammar allowed no other token. It is not part of OpenAI's API.
    """

    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list[TopLogprob]
    entropy: float | UnsetType = UNSET
    forced: bool | UnsetType = UNSET

    @classmethod
    def of(cls, token: protocol.TokenLogprob) -> "Logprob":
        """Return the engine's log probabilities of a token in OpenAI's shape."""
        top = [TopLogprob(text, logprob, raw) for text, logprob, raw in token.top]
        entropy = UNSET if token.entropy is None else round(token.entropy, 6)
        forced = True if token.forced else UNSET
        return cls(token.token, token.logprob, token.bytes, top, entropy, forced)
