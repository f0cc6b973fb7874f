"""Turn messages and tools into the tokens that the model is fed."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlx_notebook.engine.errors import ContextOverflow, InvalidRequest
from mlx_notebook.engine.images.image_tokens import ImageSpan
from mlx_notebook.engine.prompts.broken_prefix import BrokenPrefix
from mlx_notebook.engine.prompts.chat_format import ChatFormat
from mlx_notebook.engine.prompts.chat_template import apply_template
from mlx_notebook.engine.prompts.length_limits import LengthLimit
from mlx_notebook.engine.prompts.message_places import MessagePlaces, counter, find_messages
from mlx_notebook.engine.prompts.shared_prefix import NOTHING_SHARED, SharedPrefix
from mlx_notebook.engine.sandbox import deadline
from mlx_notebook.protocol import Prompt, TextPrompt

DEFAULT_MAX_TOKENS = 4096
_LEAST_ANSWER = 1024
"""Tokens left for the answer if a prompt is truncated and the request has no `max_tokens`."""


@dataclass
class PreparedPrompt:
    """A rendered and tokenized prompt.

    Attributes
    ----------
    tokens, text
        The tokens to feed, and the rendered text.
    borders
        Numbers of first tokens that other prompts are likely to share: the next turn's, and those
        of other conversations with the same system prompt.
    places
        The messages in the tokens.
    keys
        For prompts with images: the tokens, with image tokens replaced by numbers made from the
        images' content.
    image_spans
        The images and their places.
    salt
        Only prompts with the same salt share entries of the prefix cache.
    shared
        The beginning that other users may share.
    user
        The user who sent it. Prompts of users are computed in turn.
    urgent
        Whether it goes before prompts that are not urgent.
    patient
        Whether it goes after all others.
    kept
        How many of its first tokens the prefix cache keeps. None: all, and the answer.
    ends
        Tokens that end the answer, beside the model's end tokens.
    broken
        Where it leaves a cached sequence, known once it joins the batch.
    """

    tokens: list[int]
    text: str
    borders: list[int] = field(default_factory=list)
    places: MessagePlaces = field(default_factory=MessagePlaces)
    keys: list[int] | None = None
    image_spans: list[ImageSpan] = field(default_factory=list)
    salt: str = ""
    shared: SharedPrefix = NOTHING_SHARED
    user: str = ""
    urgent: bool = False
    patient: bool = False
    kept: int | None = None
    ends: Sequence[int] = ()
    broken: BrokenPrefix | None = None

    @property
    def cache_keys(self) -> list[int]:
        """The keys of the prompt in the prefix cache."""
        return self.keys or self.tokens


def prepare_prompt(
    chat_format: ChatFormat,
    prompt: Prompt,
    length_limit: LengthLimit,
    need_end: bool = False,
    salt: str | None = None,
) -> PreparedPrompt:
    """Render and tokenize a prompt.

    Parameters
    ----------
    chat_format
        The model's chat format.
    length_limit
        Maximum length of the prompt.
    need_end
        Whether the end of the last message must be one of the borders, as for models whose KV cache
        cannot be cut. If it is not found in the text, the messages are rendered again.
    salt
        Conversations with the same salt may continue each other's tokens. None: this one continues
        none, and is not kept.

    Raises
    ------
    InvalidRequest
        If the model has no chat template, or its template refuses these messages.
    ContextOverflow
        If the text is too long to be tokenized.
    """
    tokenizer = chat_format.tokenizer
    if isinstance(prompt, TextPrompt):
        return tokenize_text(tokenizer, prompt, length_limit)
    messages, tools = chat_format.conversation(prompt)

    def rendered(messages: list[dict[str, Any]], add_generation_prompt: bool) -> str:
        options, most = prompt.template_kwargs, length_limit.characters
        try:
            text = apply_template(
                tokenizer, messages, tools, options, add_generation_prompt, most=most
            )
        except ContextOverflow as error:
            raise length_limit.exceeded(f"more than {most} characters") from error
        deadline.current().check()
        return text

    if prompt.continues:
        text = _left_open(messages, lambda messages: rendered(messages, False))
    else:
        text = rendered(messages, prompt.add_generation_prompt)
    tokens, ends = chat_format.incremental.tokenize(text, salt)
    places = MessagePlaces()
    if ends is not None:
        places = find_messages(text, prompt.messages, counter(ends))
    borders = places.borders
    if need_end and prompt.add_generation_prompt and not places.complete(prompt.messages):
        head = rendered(messages, False)
        if text.startswith(head):
            borders.append(len(chat_format.incremental.tokenize(head, salt).tokens))
    return PreparedPrompt(tokens, text, borders, places)


def _left_open(
    messages: list[dict[str, Any]], render: Callable[[list[dict[str, Any]]], str]
) -> str:
    """Render a conversation up to the end of the text of its last message.

    A mark is appended to that text, and the rendered prompt is cut at the mark. If the message has
    no content, the mark is appended to its reasoning.
    """
    mark = f"OPEN{secrets.token_hex(8)}"
    *before, last = messages
    if last.get("content"):
        last = {**last, "content": _with_mark(last["content"], mark)}
    else:
        last = {**last, "reasoning_content": f"{last.get('reasoning_content', '')}{mark}"}
    text, found, _ = render([*before, last]).rpartition(mark)
    if not found:
        raise InvalidRequest(
            "the model's chat template does not render the last message, which the answer is to "
            "continue",
            "messages",
        )
    return text


def _with_mark(content: Any, mark: str) -> Any:
    if isinstance(content, str):
        return content + mark
    return [*content, {"type": "text", "text": mark}]


def truncate_prompt(
    prompt: PreparedPrompt,
    count: int,
    context_length: int,
    max_tokens: int | None,
    decode: Callable[[list[int]], str],
) -> PreparedPrompt:
    """Return the last `count` tokens of a prompt; -1: as many as leave room for the answer.

    Raises
    ------
    InvalidRequest
        If the prompt has images, or `count` is out of range.
    """
    name = "truncate_prompt_tokens"
    if prompt.image_spans:
        raise InvalidRequest(f"'{name}' cannot be used with images: leave it out.", name)
    if count == -1:
        count = context_length - min(max_tokens or _LEAST_ANSWER, context_length // 2)
    if not 0 < count <= context_length:
        raise InvalidRequest(
            f"'{name}' must be -1, or between 1 and {context_length} (this model's context).", name
        )
    cut = len(prompt.tokens) - count
    if cut <= 0:
        return prompt
    tokens = prompt.tokens[cut:]
    borders = [border - cut for border in prompt.borders if border > cut]
    return PreparedPrompt(tokens, decode(tokens), borders, salt=prompt.salt)


def tokenize_text(tokenizer: Any, prompt: TextPrompt, length_limit: LengthLimit) -> PreparedPrompt:
    """Tokenize a text without a chat template. Token ids are not changed.

    Raises
    ------
    InvalidRequest
        If a token id does not exist.
    ContextOverflow
        If the text is too long to be tokenized.
    """
    length_limit.check(prompt.text)
    if isinstance(prompt.text, str):
        tokens = tokenizer.encode(prompt.text)
        return PreparedPrompt(tokens, prompt.text)
    size = len(tokenizer)
    if any(not 0 <= token < size for token in prompt.text):
        raise InvalidRequest(f"token ids must lie between 0 and {size - 1}", "prompt")
    return PreparedPrompt(list(prompt.text), "")


def truncate_input(tokenizer: Any, tokens: list[int], most: int) -> list[int]:
    """Truncate an input for embedding, and keep the special tokens at its end.

    Raises
    ------
    InvalidRequest
        If `most` leaves no room for a token of the text.
    """
    if len(tokens) <= most:
        return tokens
    around = tokenizer.encode("")
    tail: list[int] = []
    while around and tokens[len(tokens) - len(tail) - 1] == around[-1]:
        tail.insert(0, around.pop())
    if most <= len(tail) + len(around):
        name = "truncate_prompt_tokens"
        raise InvalidRequest(f"'{name}' must be more than {len(tail) + len(around)}.", name)
    return [*tokens[: most - len(tail)], *tail]


def max_new_tokens(
    prompt_tokens: int, context_length: int, max_tokens: int | None, max_prompt: int | None = None
) -> int:
    """Return the maximum number of tokens to generate.

    Raises
    ------
    ContextOverflow
        If the prompt leaves no room for a token, or is longer than the configured `max_prompt`.
    """
    if max_prompt is not None and prompt_tokens > max_prompt:
        raise ContextOverflow(
            f"The prompt has {prompt_tokens} tokens, and this server takes {max_prompt} at most "
            "(MlxNotebookApp.max_prompt_tokens).",
            "messages",
        )
    room = context_length - prompt_tokens
    if room < 1:
        raise ContextOverflow(
            f"This model's maximum context length is {context_length} tokens, and the prompt has "
            f"{prompt_tokens}. Shorten the messages by at least {1 - room} tokens.",
            "messages",
        )
    return min(room, DEFAULT_MAX_TOKENS if max_tokens is None else max_tokens)
