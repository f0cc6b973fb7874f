"""Conversations as tokens to learn: rendered as the engine renders them, the answer marked."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mlx_notebook.engine.errors import InvalidRequest
from mlx_notebook.engine.prompts.chat_format import ChatFormat
from mlx_notebook.engine.prompts.chat_template import apply_template, render_here
from mlx_notebook.protocol import ChatPrompt, TrainingExample

# Stands for an answer, to find the place of answers in the rendered text.
_ANSWER = "mlx-notebook:answer"
_LISTED = 10


@dataclass(frozen=True)
class TokenizedExample:
    """The tokens of a prompt and its answer. Those from `answer_at` on are learned."""

    tokens: list[int]
    answer_at: int


class ExampleTokenizer:
    """Renders conversations with a model's chat template and tokenizes them.

    Tool calls are written in the model's own dialect, as its prompts have them.

    Parameters
    ----------
    tokenizer
        mlx-lm's `TokenizerWrapper`.
    chat_format
        The model's chat format.
    """

    def __init__(self, tokenizer: Any, chat_format: ChatFormat):
        self._tokenizer, self._format = tokenizer, chat_format
        self._ends = frozenset(tokenizer.eos_token_ids)

    def prompt(self, example: TrainingExample) -> list[int]:
        """Return the tokens before the answer, as the engine feeds them."""
        return self._encode(self._render(example, example.messages[:-1], prompt=True))

    def example(self, example: TrainingExample) -> TokenizedExample:
        """Return the tokens of a prompt and its answer, up to the answer's end mark.

        Raises
        ------
        InvalidRequest
            If the chat template refuses the conversation, or changes what stands before an answer.
        """
        asked = self._render(example, example.messages[:-1], prompt=True)
        whole = self._render(example, example.messages, prompt=False)
        answer = (
            whole.removeprefix(asked) if whole.startswith(asked) else self._answer(example, whole)
        )
        prompt, learned = self._encode(asked), self._encode(answer)
        end = next((i for i, token in enumerate(learned) if token in self._ends), None)
        # A template may write a line break after the end, which no answer has.
        learned = [*learned, min(self._ends)] if end is None else learned[: end + 1]
        return TokenizedExample(prompt + learned, len(prompt))

    def _answer(self, example: TrainingExample, whole: str) -> str:
        """Return the answer from a rendered conversation that does not begin with its prompt.

        Some templates end a prompt with an empty reasoning that they leave out before an answer.
        """
        stand_in = {"role": "assistant", "content": _ANSWER}
        marked = self._render(example, [*example.messages[:-1], stand_in], prompt=False)
        before, found, _ = marked.partition(_ANSWER)
        if not found or not whole.startswith(before):
            raise InvalidRequest(
                "The model's chat template changes what stands before an answer, so its answers "
                "cannot be told apart from their prompts.",
                "train",
            )
        return whole.removeprefix(before)

    def _render(
        self, example: TrainingExample, messages: list[dict[str, Any]], *, prompt: bool
    ) -> str:
        asked = ChatPrompt(messages=messages, tools=example.tools)
        conversation, tools = self._format.conversation(asked)
        # The process of a job can be killed at any moment, so it needs no sandbox of its own.
        return apply_template(self._tokenizer, conversation, tools, {}, prompt, render=render_here)

    def _encode(self, text: str) -> list[int]:
        tokens: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        return tokens


def tokenize_examples(
    tokenizer: ExampleTokenizer,
    examples: list[TrainingExample],
    most: int,
    *,
    field: str,
    note: Callable[[str], None],
    check: Callable[[int], None],
) -> list[TokenizedExample]:
    """Return the tokens of all examples that have at most `most`, and tell which ones have more.

    Parameters
    ----------
    field
        The request's name for the examples, for messages.
    note
        Called with the sentence about those that are too long.
    check
        Called with the number of each example, before it is read.

    Raises
    ------
    InvalidRequest
        If an example cannot be rendered, or all are too long.
    """
    kept, long = [], []
    for number, example in enumerate(examples):
        check(number)
        try:
            tokenized = tokenizer.example(example)
        except InvalidRequest as error:
            raise InvalidRequest(
                f"Example {number} of '{field}': {error.message}", f"{field}[{number}]"
            ) from error
        if len(tokenized.tokens) > most:
            long.append((number, len(tokenized.tokens)))
        else:
            kept.append(tokenized)
    if long:
        numbers = ", ".join(str(number) for number, _ in long[:_LISTED])
        more = ", ..." if len(long) > _LISTED else ""
        message = (
            f"{len(long)} of {len(examples)} examples of '{field}' have more than {most} tokens "
            f"(the longest {max(size for _, size in long)}) and are left out: {numbers}{more}. "
            "Raise max_tokens, or shorten them."
        )
        if not kept:
            raise InvalidRequest(message, field)
        note(message)
    return kept
