"""Runs the requests of one resident model: they join its batch, decode together, and leave."""

from typing import Any, NamedTuple

import msgspec

from mlx_notebook.engine.backends.backend import GeneratingBackend, Progress, Token
from mlx_notebook.engine.errors import EngineError
from mlx_notebook.engine.generation.output_stream import OutputStream
from mlx_notebook.engine.generation.request import PreparedRequest, Request, RequestState, Sequence
from mlx_notebook.engine.prompts.broken_prefix import describe
from mlx_notebook.engine.sampling.row import Row, make_row
from mlx_notebook.protocol import (
    Event,
    FinishReason,
    Prefill,
    PromptTokenIds,
    TextPrompt,
    TokenIds,
    TokenLogprob,
)


class StepResult(NamedTuple):
    """What one step did.

    Attributes
    ----------
    finished
        Requests whose last row has ended.
    failed
        Requests that cannot go on, with the reason. Their rows are out of the batch.
    generated, prefilled
        Tokens generated, and prompt tokens computed.
    """

    finished: list[Request]
    failed: list[tuple[Request, EngineError]]
    generated: int
    prefilled: int


class Runner:
    """Connects a backend, which knows tokens, with requests, which know texts and events."""

    def __init__(self, backend: GeneratingBackend):
        self.backend = backend
        self._sequences: dict[int, Sequence] = {}

    def __len__(self) -> int:
        return len(self.backend)

    @property
    def urgent_users(self) -> list[str]:
        """The user of each row of an urgent request."""
        commands = (sequence.request.command for sequence in self._sequences.values())
        return [command.user for command in commands if command.urgent]

    @property
    def patient_rows(self) -> int:
        """How many rows belong to requests that nobody waits for."""
        return sum(sequence.request.command.patient for sequence in self._sequences.values())

    def join(self, request: Request, events: list[Event]) -> None:
        """Add a prepared request to the batch."""
        prepared, command, backend = request.prepared, request.command, self.backend
        assert prepared is not None
        request.enter(RequestState.PREFILL)
        # The rows of one request share one prefill: the others are forked when it is complete.
        for index in range(1 if backend.trimmable else command.n):
            row = self._row(request, prepared, index)
            uid, cached = backend.insert(
                row, prepared.prompt, prepared.max_tokens, endless=command.sampling.ignore_eos
            )
            self._add(request, prepared, index, uid, row)
            request.cached = request.prefilled = cached
        prompt = prepared.prompt
        if command.trace and prompt.broken is not None:
            request.broken = describe(
                prompt.broken, prompt.places, prompt.cache_keys, request.cached, backend.tokenizer
            )
        total = len(prompt.tokens)
        if command.token_ids:
            events.append(PromptTokenIds(request.id, prepared.prompt.tokens))
        events.append(Prefill(request.id, request.cached, total, request.cached))

    def step(self, events: list[Event]) -> StepResult:
        """Decode one token of every row and compute a chunk of the waiting prompts."""
        progress, tokens = self.backend.step()
        prefilled = sum(self._progress(prompt, events) for prompt in progress)
        finished, stopped, generated = [], [], 0
        failures: dict[Request, EngineError] = {}
        for token in tokens:
            sequence = self._sequences.get(token.uid)
            if sequence is None:  # a stop string has ended it at an earlier token of this step
                continue
            generated += 1
            reason = self._emit(sequence, token, events)
            if reason is None:
                if sequence.constraint is not None and sequence.constraint.failure is not None:
                    failures.setdefault(sequence.request, sequence.constraint.failure)
                continue
            del self._sequences[token.uid]
            if token.finish is None:
                stopped.append(token.uid)
            if sequence.request.finish(sequence, reason, events):
                finished.append(sequence.request)
        if stopped:
            self.backend.remove(stopped)
        for request in failures:
            self.drop(request)
        return StepResult(finished, list(failures.items()), generated, prefilled)

    def drop(self, request: Request) -> None:
        """Remove the rows of a cancelled or failed request from the batch."""
        uids = [sequence.uid for sequence in request.sequences if not sequence.finished]
        if uids:
            self.backend.remove(uids)
            for uid in uids:
                del self._sequences[uid]

    def _row(self, request: Request, prepared: PreparedRequest, index: int) -> Row:
        row = make_row(
            request.command.sampling,
            self.backend.sampling_defaults,
            prepared.prompt.tokens,
            index,
            prepared.plan.constraint(),
        )
        row.stop = (*row.stop, *prepared.prompt.ends)
        return row

    def _add(
        self, request: Request, prepared: PreparedRequest, index: int, uid: int, row: Row
    ) -> None:
        reader = prepared.plan.reader()
        output = OutputStream(request.id, index, self.backend.tokenizer, reader)
        sequence = Sequence(request, index, uid, output, row.constraint)
        request.sequences.append(sequence)
        self._sequences[uid] = sequence

    def _progress(self, prompt: Progress, events: list[Event]) -> int:
        """Report how much of a prompt is computed; when all of it is, fork the other rows.

        Returns
        -------
        How many prompt tokens this step computed.
        """
        sequence = self._sequences[prompt.uid]
        request = sequence.request
        if sequence.index > 0:
            return 0
        prepared = request.prepared
        assert prepared is not None
        total = len(prepared.prompt.tokens)
        done = total if prompt.end else request.cached + prompt.done
        new, request.prefilled = done - request.prefilled, done
        if not prompt.end:
            events.append(Prefill(request.id, done, total, request.cached))
            return new
        for index in range(len(request.sequences), request.command.n):
            row = self._row(request, prepared, index)
            endless = request.command.sampling.ignore_eos
            uid = self.backend.fork(prompt.uid, row, prepared.max_tokens, endless=endless)
            self._add(request, prepared, index, uid, row)
        return new

    def _emit(self, sequence: Sequence, token: Token, events: list[Event]) -> FinishReason | None:
        """Turn one token into events; return why its row ended, if it did."""
        request, output = sequence.request, sequence.output
        if request.state is not RequestState.DECODE:
            request.enter(RequestState.DECODE)
        sequence.generated += 1
        if request.command.token_ids:
            events.append(TokenIds(request.id, sequence.index, [token.id]))
        if token.finish != "stop":
            output.add(token.id, self._logprob(token), events)
        elif isinstance(request.command.prompt, TextPrompt):
            # OpenAI counts it among the tokens of a completed text, but not among those of a chat.
            output.end_with(self._logprob(token))
        if output.stopped is not None:
            return "stop"
        return "length" if token.finish == "length" else "stop" if token.finish else None

    def _logprob(self, token: Token) -> TokenLogprob | None:
        report = token.report
        if report is None:
            return None
        best: Any = list(zip(report.ids.tolist(), report.values.tolist(), strict=True))
        logprob = self.backend.vocabulary.logprob(token.id, float(report.logprob.item()), best)
        entropy = max(0.0, float(report.entropy.item()))
        return msgspec.structs.replace(logprob, entropy=entropy, forced=report.forced)
