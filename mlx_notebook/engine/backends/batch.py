"""mlx-lm's continuous batching, with one sampling pass for all rows.

`BatchGenerator` calls a sampler a row as soon as two rows differ in anything, and turns every
row's log probabilities into arrays of their own. Here a row carries its settings (`Row`, in the
place where mlx-lm keeps a sampler) and one `BatchSampler` serves them all, so that a step costs
the same whatever mix of requests runs.
"""

from typing import Any

import mlx.core as mx
from mlx_lm.generate import BatchGenerator, GenerationBatch, PromptProcessingBatch
from mlx_lm.models.cache import trim_prompt_cache

from mlx_notebook.engine.kv_cache.single_row import alone, kept, together
from mlx_notebook.engine.sampling.sampler import BatchSampler, Row
from mlx_notebook.engine.speculative.verification import Speculation


class RowBatch(GenerationBatch):
    """The rows being decoded. `samplers[i]` is the `Row` of sequence i."""

    uids: list[int]
    prompt_cache: list[Any]
    samplers: list[Row]
    tokens: list[list[int]]
    _next_tokens: Any
    _next_logprobs: list[Any]
    _num_tokens: list[int]
    max_tokens: list[int]
    speculation: Speculation | None = None

    def __init__(self, *args: Any, **options: Any):
        # First, since mlx-lm's constructor already makes a step.
        self.sampler = BatchSampler()
        self._single = False
        # What the only row's cache holds beyond the tokens that were given out.
        self._ahead: list[int] = []
        super().__init__(*args, **options)

    def extend(self, batch: "RowBatch") -> None:
        """Take in another batch's rows."""
        if self.uids and batch.uids:
            self._join()
            batch._join()
        else:
            self._single = self._single or batch._single
        super().extend(batch)

    def filter(self, keep: list[int]) -> None:
        """Keep only these rows."""
        if self._single:
            # Either the only row stays, and nothing changes, or it goes.
            if not keep:
                self._single = False
                super().filter(keep)
            return
        super().filter(keep)

    def next(self) -> list[Any]:
        """Give out the next token of each row, and of a lone one all that are certain."""
        responses = list(super().next())
        while self._ahead:
            responses.extend(super().next())
        return responses

    def extract_cache(self, idx: int) -> list[Any]:
        """A copy of one row's cache."""
        if self._single:
            # The row may end before what was already computed of it.
            trim_prompt_cache(self.prompt_cache, len(self._ahead))
            self._ahead.clear()
            return [kept(layer) for layer in self.prompt_cache]
        return list(super().extract_cache(idx))

    def _part(self) -> None:
        """One row is left: go on without the batch's form."""
        self.prompt_cache = [alone(layer) for layer in self.prompt_cache]
        self._single = True

    def _join(self) -> None:
        """Others come: take the batch's form."""
        if self._single:
            self.prompt_cache = [together(layer) for layer in self.prompt_cache]
            self._single = False

    def _step(self) -> tuple[list[int], list[Any]]:
        """Start computing the next tokens and return the present ones (already computed)."""
        if self._ahead:
            return self._given(self._ahead.pop(0))
        if len(self.uids) == 1 and not self._single:
            self._part()
        if self._single and self.speculation is not None:
            room = self.max_tokens[0] - self._num_tokens[0] - 1
            decided = self.speculation.step(
                *(self.model, self.prompt_cache, self.samplers[0], self.tokens[0]),
                *(self._next_tokens, room),
            )
            if decided is not None:
                now, *self._ahead, after = decided
                self._current_tokens, self._next_tokens = self._next_tokens, mx.array([after])
                self._next_logprobs = [None]
                self.sampler.forget()
                return self._given(now)
        rows = self.samplers
        inputs, logprobs = self._next_tokens, self._next_logprobs
        self._current_tokens = inputs
        logits = self.model(inputs[:, None], cache=self.prompt_cache)[:, -1, :]
        ids: list[int] | None = None
        constrained = self.sampler.plan(rows).constrained
        if constrained:
            # The masks depend on the tokens fed: wait for those while the model computes.
            mx.async_eval(logits)
            ids = inputs.tolist()
            for i in constrained:
                constraint = rows[i].constraint
                if constraint is not None and rows[i].position > 0:
                    constraint.advance(ids[i])
        tokens, reports = self.sampler(rows, inputs, logits)
        self._next_tokens, self._next_logprobs = tokens, reports
        mx.async_eval(tokens, [report for report in reports if report is not None])
        if ids is None:
            ids = inputs.tolist()
        for sequence, token in zip(self.tokens, ids, strict=True):
            sequence.append(token)
        return ids, logprobs or [None] * len(ids)

    def _given(self, token: int) -> tuple[list[int], list[Any]]:
        self.tokens[0].append(token)
        return [token], [None]


class PromptBatch(PromptProcessingBatch):
    """The rows whose prompts are being computed; hands them over to a `RowBatch`."""

    uids: list[int]
    prompt_cache: list[Any]
    tokens: list[list[int]]
    samplers: list[Any]
    logits_processors: list[Any]
    max_tokens: list[int]

    def generate(self, tokens: list[list[int]]) -> RowBatch:
        """Begin decoding: `tokens` holds the last prompt token of each row."""
        batch = RowBatch(
            self.model,
            self.uids,
            mx.array([last[-1] for last in tokens]),
            self.prompt_cache,
            self.tokens,
            self.samplers,
            self.fallback_sampler,
            self.logits_processors,
            self.stop_sequences,
            self.max_tokens,
        )
        self.uids, self.prompt_cache, self.tokens = [], [], []
        self.samplers, self.logits_processors, self.max_tokens = [], [], []
        return batch


class RowGenerator(BatchGenerator):
    """A `BatchGenerator` whose batches are the two above."""

    def __init__(self, model: Any, **options: Any):
        super().__init__(model, **options)
        self._prompt_batch = PromptBatch.empty(
            model, self.sampler, prefill_step_size=self.prefill_step_size
        )
        self._generation_batch = RowBatch.empty(model, self.sampler)

    def speculate(self, speculation: Speculation) -> None:
        """Guess ahead whenever one row is alone. All caches of the model must be trimmable."""
        self._generation_batch.speculation = speculation

    @property
    def kv_bytes(self) -> int:
        """What the caches of all sequences take, and a draft model's, in bytes."""
        speculation = self._generation_batch.speculation
        return int(self.prompt_cache_nbytes) + (speculation.nbytes if speculation else 0)

    @property
    def waiting_caches(self) -> list[list[Any]]:
        """The caches that prompts begin with which are not being computed yet, in their order."""
        return [sequence[3] for sequence in self._unprocessed_sequences]

    @property
    def computing(self) -> int:
        """How many prompts are being computed."""
        return len(self._prompt_batch)

    def admit(self, prompts: int) -> None:
        """Let so many more of those begin."""
        self.prefill_batch_size = len(self._prompt_batch) + prompts

    def __len__(self) -> int:
        batches = (self._generation_batch, self._prompt_batch, self._unprocessed_sequences)
        return sum(len(batch) for batch in batches)
