"""The settings of `Chat`, `map` and others, as OpenAI's client takes them."""

import difflib
import functools
import inspect
from collections.abc import Mapping
from typing import Any

from mlx_notebook.notebook.errors import NotebookError

# `Chat`, `map` and others send these themselves, or cannot use what they do.
_NOT_SETTINGS = frozenset(
    {"self", "messages", "model", "n", "stream", "stream_options", "tools"}
    | {"add_generation_prompt", "continue_final_message"}
)

LOCAL_SETTINGS = frozenset(
    {
        *("allowed_token_ids", "bad_words", "chat_template_kwargs", "enable_thinking", "grammar"),
        *("guided_choice", "guided_grammar", "guided_json", "guided_regex", "ignore_eos"),
        *("include_reasoning", "json_schema", "min_p", "min_tokens", "prompt_logprobs"),
        *("repeat_last_n", "repeat_penalty", "repetition_penalty", "return_token_ids"),
        *("stop_token_ids", "structured_outputs", "thinking_budget", "top_k"),
        *("truncate_prompt_tokens", "typical_p", "xtc_probability", "xtc_threshold"),
    }
)
"""Parameters of this server that OpenAI's client does not know."""


def request_settings(settings: Mapping[str, Any], word: str) -> dict[str, Any]:
    """Return settings with those that only this server knows in `extra_body`.

    Parameters
    ----------
    settings
        Parameters of the chat completions endpoint.
    word
        What was called with them, such as `map`.

    Raises
    ------
    NotebookError
        If one is no parameter of the endpoint, or is not for the caller.
    """
    known = _known_settings()
    for name in settings:
        if name not in known:
            raise NotebookError(f"{word} has no setting {name!r}.{_hint(name, known)}")
    ready = {name: value for name, value in settings.items() if name not in LOCAL_SETTINGS}
    local = {name: value for name, value in settings.items() if name in LOCAL_SETTINGS}
    if local:
        ready["extra_body"] = {**local, **(ready.get("extra_body") or {})}
    return ready


def _hint(name: str, known: frozenset[str]) -> str:
    if name in _NOT_SETTINGS:
        return ""
    if close := difflib.get_close_matches(name, known, 1):
        return f" Did you mean {close[0]!r}?"
    return f' What another server knows goes into extra_body={{"{name}": ...}}.'


@functools.lru_cache(1)
def _known_settings() -> frozenset[str]:
    """Return the parameters of the chat completions endpoint that are settings."""
    from openai.resources.chat.completions import AsyncCompletions

    openai = frozenset(inspect.signature(AsyncCompletions.create).parameters)
    return (openai | LOCAL_SETTINGS) - _NOT_SETTINGS
