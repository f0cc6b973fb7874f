"""Scores by a language model: whether it would rather answer yes or no about a document."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_notebook.engine.batching.hidden_states import HiddenStates
from mlx_notebook.engine.batching.padding import padded
from mlx_notebook.engine.prompts.incremental_tokenizer import tokenize
from mlx_notebook.engine.prompts.length_limits import LengthLimit
from mlx_notebook.engine.reranking.reranker import (
    Pair,
    Reranker,
    Scores,
    check_texts,
    readable_tokens,
)
from mlx_notebook.engine.reranking.yes_no_prompts import (
    QuestionForm,
    QwenForm,
    TemplateForm,
    asks_pairs,
)
from mlx_notebook.engine.sandbox.deadline import current
from mlx_notebook.model_files.reranker_files import WRITERS, LogitScore, read_logit_score
from mlx_notebook.protocol import Rerank

_CHAT_MARK = "<|im_start|>"


class YesNoReranker(Reranker):
    """Scores by the logits of what would follow the question: that of yes less that of no.

    Parameters
    ----------
    model
        A language model of mlx-lm.
    tokenizer
        Its tokenizer, as mlx-lm wraps it.
    limit
        How long its prompts may be.
    form
        The question.
    answers
        The tokens for yes and no.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        limit: LengthLimit,
        form: QuestionForm,
        answers: LogitScore,
    ):
        self._model, self._tokenizer, self._limit = model, tokenizer, limit
        self._form, self._answers = form, answers

    def pairs(self, command: Rerank) -> list[Pair]:
        """Tokenize the question about each document."""
        check_texts(command, self._limit.relaxed)
        before, after = self._form.around(command.query, command.instruction)
        end, _ = tokenize(self._tokenizer, after)
        return [self._pair(command, index, before, end) for index in range(len(command.documents))]

    def _pair(self, command: Rerank, index: int, before: str, end: list[int]) -> Pair:
        current().check()
        tokens, ends = tokenize(self._tokenizer, before + command.documents[index])
        if ends is None:
            begin = len(tokenize(self._tokenizer, before).tokens)
        else:
            begin = sum(end <= len(before) for end in ends)
        wanted, kept = readable_tokens(
            *(command, index),
            document=len(tokens) - begin,
            others=begin + len(end),
            limit=self._limit.tokens,
        )
        return Pair([*tokens[: begin + kept], *end], [], wanted, kept)

    def score(self, batch: list[Pair], chunk: int) -> Generator[None, None, Scores]:
        """Return the score of each pair."""
        # A language model attends to earlier tokens only: padding after a prompt changes nothing.
        tokens, _ = padded([pair.tokens for pair in batch], 0)
        last = np.array([len(pair.tokens) - 1 for pair in batch])
        positions = tokens.shape[1]
        states = HiddenStates(self._model, positions > chunk)
        scores = np.zeros(len(batch), np.float32)
        for begin in range(0, positions, chunk):
            if begin:
                yield
            hidden = states.next(tokens[:, begin : begin + chunk])
            (rows,) = np.nonzero((begin <= last) & (last < begin + chunk))
            if len(rows):
                scores[rows] = self._compare(hidden[mx.array(rows), mx.array(last[rows] - begin)])
            else:
                mx.eval(hidden)
        return scores

    def _compare(self, hidden: mx.array) -> Scores:
        """Return the scores of the last hidden states, shape (pairs, dimensions)."""
        model, answers = self._model, self._answers
        head = model.lm_head if hasattr(model, "lm_head") else model.model.embed_tokens.as_linear
        logits = head(hidden).astype(mx.float32)
        scores = logits[:, answers.true_token_id]
        if answers.false_token_id is not None:
            scores = scores - logits[:, answers.false_token_id]
        return np.array(scores)


def open_yes_no(
    model: Any, tokenizer: Any, path: Path, limit: LengthLimit, *, qwen: bool
) -> YesNoReranker:
    """Return what ranks with a language model.

    `qwen` says that it may be asked the question of Qwen3-Reranker, where it has no other.

    Raises
    ------
    ValueError
        If its files are not valid, it has no question, or its tokenizer has not the tokens that
        the question needs.
    """
    if model.model_type not in WRITERS:
        raise ValueError(
            f"it is a {model.model_type} model, and rerankers are {', '.join(WRITERS)} models."
        )
    answers = read_logit_score(path) if path.is_dir() else None
    form: QuestionForm = QwenForm()
    if answers is not None and asks_pairs(tokenizer):
        form = TemplateForm(tokenizer, path)
    elif not qwen:
        raise ValueError(
            "its chat template has no roles 'query' and 'document'. If it knows the prompt of "
            "Qwen3-Reranker, set reranker for this model."
        )
    else:
        _one_token(tokenizer, _CHAT_MARK)
        answers = answers or LogitScore(_one_token(tokenizer, "yes"), _one_token(tokenizer, "no"))
    tokens = (answers.true_token_id, answers.false_token_id or 0)
    if not all(0 <= token < len(tokenizer) for token in tokens):
        raise ValueError("its files name a token that its tokenizer does not have.")
    return YesNoReranker(model, tokenizer, limit, form, answers)


def _one_token(tokenizer: Any, text: str) -> int:
    found = tokenizer.encode(text, add_special_tokens=False)
    if len(found) != 1:
        raise ValueError(
            f"its tokenizer has no token for {text!r}, which the question of a reranker needs."
        )
    return int(found[0])
