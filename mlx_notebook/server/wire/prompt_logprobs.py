"""What vLLM tells of a prompt's tokens: `prompt_logprobs`, and the ids of `return_token_ids`.

Format: https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html.
"""

from msgspec import Struct

from mlx_notebook.protocol import PromptLogprobs


class PromptTokenLogprob(Struct):
    """A token that stands in the prompt, or could have; `rank` 1 is the likeliest."""

    logprob: float
    rank: int
    decoded_token: str


# Of the first token there is none; the others by their ids, the prompt's own token first.
PromptTokenLogprobs = list[dict[str, PromptTokenLogprob] | None]


def prompt_logprobs(scored: PromptLogprobs, count: int) -> PromptTokenLogprobs:
    """Return the engine's figures with `count` alternatives each, in vLLM's shape."""
    told: PromptTokenLogprobs = []
    for token, ids, rank in zip(scored.tokens, scored.ids, scored.ranks, strict=True):
        if token is None:
            told.append(None)
            continue
        entry = {str(ids[0]): PromptTokenLogprob(token.logprob, rank, token.token)}
        for place, (text, logprob, _) in enumerate(token.top[:count]):
            entry.setdefault(str(ids[place + 1]), PromptTokenLogprob(logprob, place + 1, text))
        told.append(entry)
    return told
