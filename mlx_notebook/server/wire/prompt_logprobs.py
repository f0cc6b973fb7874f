"""Log probabilities of prompt tokens, in the format of vLLM's `prompt_logprobs`.

Format: https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html.
"""

from msgspec import Struct

from mlx_notebook.protocol import PromptLogprobs


class PromptTokenLogprob(Struct):
    """A prompt token, or an alternative at its position. The likeliest token has `rank` 1."""

    logprob: float
    rank: int
    decoded_token: str


# One entry a token: None for the first one, then token ids and log probabilities. The prompt's own
# token comes first in an entry.
PromptTokenLogprobs = list[dict[str, PromptTokenLogprob] | None]


def prompt_logprobs(scored: PromptLogprobs, count: int) -> PromptTokenLogprobs:
    """Return the engine's log probabilities in vLLM's shape, with `count` alternatives each."""
    entries: PromptTokenLogprobs = []
    for token, ids, rank in zip(scored.tokens, scored.ids, scored.ranks, strict=True):
        if token is None:
            entries.append(None)
            continue
        entry = {str(ids[0]): PromptTokenLogprob(token.logprob, rank, token.token)}
        for place, (text, logprob, _) in enumerate(token.top[:count]):
            entry.setdefault(str(ids[place + 1]), PromptTokenLogprob(logprob, place + 1, text))
        entries.append(entry)
    return entries
