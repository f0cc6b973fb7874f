"""mlx-lm's continuous batching, with one sampling pass for all rows.

mlx-lm's `BatchGenerator` calls one sampler per row as soon as two rows have different settings,
and makes an array of log probabilities for every row. Here a row has its settings (`Row`) where
mlx-lm has a sampler, and one `BatchSampler` samples all rows. So the cost of a step does not
depend on the mix of requests.
"""

from typing import Any

import mlx.core as mx
from mlx_lm.generate import BatchGenerator, GenerationBatch, PromptProcessingBatch
from mlx_lm.models.cache import trim_prompt_cache

from mlx_notebook.engine.kv_cache.single_row import batched, compact_copy, unbatched
from mlx_notebook.engine.sampling.row import Row
from mlx_notebook.engine.sampling.sampler import BatchSampler
from mlx_notebook.engine.speculative.verification import Speculation


class RowBatch(GenerationBatch):
    """The rows being decoded. `samplers[i]` is the `Row` of row i."""

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
        # These come first, since mlx-lm's constructor already does a step.
        self.sampler = BatchSampler()
        self._unbatched = False
        # Tokens in the cache of the only row that `next` has not returned yet.
        self._ahead: list[int] = []
        super().__init__(*args, **options)

    def extend(self, batch: "RowBatch") -> None:
        """Add the rows of another batch."""
        if self.uids and batch.uids:
            self._rebatch()
            batch._rebatch()
        else:
            self._unbatched = self._unbatched or batch._unbatched
        super().extend(batch)

    def filter(self, keep: list[int]) -> None:
        """Keep only these rows."""
        if self._unbatched:
            # There is one row: it stays, and nothing changes, or it is removed.
            if not keep:
                self._unbatched = False
                super().filter(keep)
            return
        super().filter(keep)

    def next(self) -> list[Any]:
        """Return the next token of each row; for a single row, all tokens accepted at once."""
        responses = list(super().next())
        while self._ahead:
            responses.extend(super().next())
        return responses

    def extract_cache(self, idx: int) -> list[Any]:
        """Return a copy of one row's cache."""
        if self._unbatched:
            # The row may end before the last of the tokens that are computed already.
            trim_prompt_cache(self.prompt_cache, len(self._ahead))
            self._ahead.clear()
            return [compact_copy(layer) for layer in self.prompt_cache]
        return list(super().extract_cache(idx))

    def _unbatch(self) -> None:
        """Convert the caches of the only row to the unbatched form."""
        self.prompt_cache = [unbatched(layer) for layer in self.prompt_cache]
        self._unbatched = True

    def _rebatch(self) -> None:
        """Convert the caches to the batched form, for more rows."""
        if self._unbatched:
            self.prompt_cache = [batched(layer) for layer in self.prompt_cache]
            self._unbatched = False

    def _step(self) -> tuple[list[int], list[Any]]:
        """Start to compute the next tokens; return the current ones, which are computed."""
        if self._ahead:
            return self._returned(self._ahead.pop(0))
        if len(self.uids) == 1 and not self._unbatched:
            self._unbatch()
        if self._unbatched and self.speculation is not None:
            room = self.max_tokens[0] - self._num_tokens[0] - 1
            accepted = self.speculation.step(
                *(self.model, self.prompt_cache, self.samplers[0], self.tokens[0]),
                *(self._next_tokens, room),
            )
            if accepted is not None:
                now, *self._ahead, after = accepted
                self._current_tokens, self._next_tokens = self._next_tokens, mx.array([after])
                self._next_logprobs = [None]
                self.sampler.forget()
                return self._returned(now)
        rows = self.samplers
        inputs, logprobs = self._next_tokens, self._next_logprobs
        self._current_tokens = inputs
        logits = self.model(inputs[:, None], cache=self.prompt_cache)[:, -1, :]
        ids: list[int] | None = None
        constrained = self.sampler.settings(rows).constrained
        if constrained:
            # The masks depend on the tokens fed: wait for them while the model computes.
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

    def _returned(self, token: int) -> tuple[list[int], list[Any]]:
        self.tokens[0].append(token)
        return [token], [None]


class PromptBatch(PromptProcessingBatch):
    """The rows whose prompts are being computed. They become a `RowBatch`."""

    uids: list[int]
    prompt_cache: list[Any]
    tokens: list[list[int]]
    samplers: list[Any]
    logits_processors: list[Any]
    max_tokens: list[int]

    def generate(self, tokens: list[list[int]]) -> RowBatch:
        """Begin to decode. `tokens` has the last prompt token of each row."""
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
    """mlx-lm's `BatchGenerator` with these two kinds of batches."""

    def __init__(self, model: Any, **options: Any):
        super().__init__(model, **options)
        self._prompt_batch = PromptBatch.empty(
            model, self.sampler, prefill_step_size=self.prefill_step_size
        )
        self._generation_batch = RowBatch.empty(model, self.sampler)

    def speculate(self, speculation: Speculation) -> None:
        """Use speculative decoding whenever there is only one row.

        All caches of the model must be trimmable.
        """
        self._generation_batch.speculation = speculation

    @property
    def kv_bytes(self) -> int:
        """Bytes of the KV caches of all rows and of the draft model."""
        speculation = self._generation_batch.speculation
        return int(self.prompt_cache_nbytes) + (speculation.nbytes if speculation else 0)

    @property
    def waiting_caches(self) -> list[list[Any]]:
        """The caches of the prompts that are not being computed yet, in their order."""
        return [sequence[3] for sequence in self._unprocessed_sequences]

    @property
    def computing(self) -> int:
        """How many prompts are being computed."""
        return len(self._prompt_batch)

    def admit(self, prompts: int) -> None:
        """Allow this many more prompts to begin."""
        self.prefill_batch_size = len(self._prompt_batch) + prompts

    def __len__(self) -> int:
        batches = (self._generation_batch, self._prompt_batch, self._unprocessed_sequences)
        return sum(len(batch) for batch in batches)
