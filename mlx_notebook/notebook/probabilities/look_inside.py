"""Answer a prompt and show what the model held possible at each place."""

import math
import re
from collections.abc import Sequence
from typing import Any

from mlx_notebook.notebook.connection import connection
from mlx_notebook.notebook.errors import NotebookError
from mlx_notebook.notebook.probabilities.scored_answer import ScoredAnswer
from mlx_notebook.notebook.probabilities.scored_tokens import (
    Attention,
    PromptPart,
    PromptToken,
    ScoredToken,
)
from mlx_notebook.notebook.schemas.reply_schema import response_format
from mlx_notebook.notebook.server.server import Server

_MOST_PARTS = 24
_SENTENCE = re.compile(r"[^.!?\n]*(?:[.!?]+|\n|$)\s*")
_WORD = re.compile(r"\S+\s*")


def look_inside(
    prompt: str | Sequence[dict[str, Any]],
    *,
    model: str | None = None,
    system: str | None = None,
    schema: Any = None,
    alternatives: int = 5,
    importance: bool = False,
    attention: bool = False,
    max_tokens: int = 200,
    **settings: Any,
) -> ScoredAnswer:
    """Answer a prompt, and tell how likely each token was and what else was possible.

    Parameters
    ----------
    prompt
        The user's message, or the messages of a chat in OpenAI's format.
    model
        Name of the model. By default the notebook's.
    system
        System message, if `prompt` is a text.
    schema
        A type or JSON schema that the answer must fit. The tokens that it forced are marked.
    alternatives
        How many of the most likely tokens to tell for each place, up to 20.
    importance
        Whether to find out what the answer owes to each part of the last user message. The answer
        is scored once without each of them, which takes up to 24 more prompts. This works for every
        architecture. It tells what changes the answer, which attention weights do not.
    attention
        Whether to tell which tokens of the prompt the model attended to while it chose each token
        of the answer. The answer is computed once more. Most architectures allow it.
    max_tokens
        Most tokens of the answer.
    settings
        Other parameters of the request, such as `temperature` or `seed`.

    Returns
    -------
    ScoredAnswer
        A cell shows it in colours. `rows()` is for a DataFrame.

    Raises
    ------
    NotebookError
        If the request fails, the server gives no log probabilities, or the model's architecture
        does not show its attention.

    Examples
    --------
    >>> mlx_notebook.look_inside("Name a colour.", temperature=0)
    """
    messages = _messages(prompt, system)
    server = connection.connect()
    body = {
        **settings,
        "messages": messages,
        "max_tokens": max_tokens,
        "logprobs": True,
        "top_logprobs": alternatives,
        "return_token_ids": True,
    }
    if name := model or connection.default_model():
        body["model"] = name
    if schema is not None:
        body["response_format"] = response_format(schema)
    answer = server.post("v1/chat/completions", body)
    [choice] = answer["choices"]
    scored = choice.get("logprobs")
    if scored is None or scored.get("content") is None:
        raise NotebookError(f"The model {answer['model']!r} tells no probabilities of its tokens.")
    tokens = [ScoredToken.of(entry) for entry in scored["content"]]
    cached = (answer["usage"].get("prompt_tokens_details") or {}).get("cached_tokens", 0)
    prompt_tokens = tokenize(server, answer["model"], messages=messages, cached=cached)
    parts: list[PromptPart] = []
    if importance:
        ids = choice["token_ids"]
        free = [not token.forced for token in tokens] if len(tokens) == len(ids) else None
        parts = _parts(server, answer["model"], messages, ids, free)
    seen = None
    if attention:
        ids = [token.id for token in prompt_tokens]
        seen = _attention(server, answer["model"], ids, choice["token_ids"])
    text = choice["message"]["content"] or ""
    return ScoredAnswer(answer["model"], text, tokens, prompt_tokens, parts, seen)


def tokenize(
    server: Server, model: str | None, *, cached: int = 0, **source: Any
) -> list[PromptToken]:
    """Return the tokens of a text (`content`) or a chat (`messages`).

    Parameters
    ----------
    cached
        How many of them the prefix cache had.

    Raises
    ------
    NotebookError
        If the server refuses.
    """
    body = {**source, "with_pieces": True, **({"model": model} if model else {})}
    found = server.post("tokenize", body)["tokens"]
    return [
        PromptToken(token["id"], _text_of(token["piece"]), at < cached)
        for at, token in enumerate(found)
    ]


def _text_of(piece: str | list[int]) -> str:
    """Return the text of a token; where it is a part of a character, its bytes."""
    return piece if isinstance(piece, str) else "".join(f"\\x{byte:02x}" for byte in piece)


def _messages(prompt: str | Sequence[dict[str, Any]], system: str | None) -> list[dict[str, Any]]:
    if not isinstance(prompt, str):
        if system is not None:
            raise ValueError("`system` is for a prompt that is a text: put it into the messages.")
        return [dict(message) for message in prompt]
    first = [] if system is None else [{"role": "system", "content": system}]
    return [*first, {"role": "user", "content": prompt}]


def _parts(
    server: Server,
    model: str,
    messages: list[dict[str, Any]],
    answer: list[int],
    free: list[bool] | None,
) -> list[PromptPart]:
    """Score the answer with the whole prompt, and without each part of the last user message."""
    at = max((i for i, m in enumerate(messages) if m.get("role") == "user"), default=None)
    if at is None or not isinstance(messages[at].get("content"), str):
        raise ValueError("`importance` needs a user message that is a text.")
    texts = split(messages[at]["content"])
    whole = _score(server, model, messages, answer, free)
    parts = []
    for number, text in enumerate(texts):
        rest = "".join(texts[:number] + texts[number + 1 :])
        changed = [*messages[:at], {**messages[at], "content": rest}, *messages[at + 1 :]]
        lost = whole - _score(server, model, changed, answer, free)
        parts.append(PromptPart(text, lost / math.log(2)))
    return parts


def _attention(server: Server, model: str, prompt: list[int], answer: list[int]) -> Attention:
    """Return what the model attends to in the prompt when it computes the answer again."""
    body = {
        "model": model,
        "prompt": prompt + answer,
        "max_tokens": 0,
        "prompt_logprobs": 0,
        "prompt_attention_from": len(prompt),
    }
    [choice] = server.post("v1/completions", body)["choices"]
    found = choice["prompt_attention"]
    tokens = [[(place, weight) for place, weight in top] for top in found["tokens"]]
    return Attention(found["layers"], found["mean"], tokens)


def split(text: str) -> list[str]:
    """Split a text into at most 24 parts: sentences, or words if it is a single sentence."""
    parts = [part for part in _SENTENCE.findall(text) if part]
    if len(parts) < 3:
        parts = _WORD.findall(text)
        # What is before the first word belongs to it.
        if parts:
            parts[0] = text[: len(text) - len(text.lstrip())] + parts[0]
    if len(parts) > _MOST_PARTS:
        size = math.ceil(len(parts) / _MOST_PARTS)
        parts = ["".join(parts[i : i + size]) for i in range(0, len(parts), size)]
    return parts


def _score(
    server: Server,
    model: str,
    messages: list[dict[str, Any]],
    answer: list[int],
    free: list[bool] | None,
) -> float:
    """Return the log probability of an answer after a chat, in nats, without forced tokens."""
    prompt = [token.id for token in tokenize(server, model, messages=messages)]
    body = {"model": model, "prompt": prompt + answer, "max_tokens": 1, "prompt_logprobs": 0}
    [choice] = server.post("v1/completions", body)["choices"]
    scored = choice["prompt_logprobs"][len(prompt) :]
    values = [
        entry[str(id)]["logprob"] if entry is not None else 0.0
        for id, entry in zip(answer, scored, strict=True)
    ]
    if free is not None:
        values = [value for value, is_free in zip(values, free, strict=True) if is_free]
    return sum(values)
