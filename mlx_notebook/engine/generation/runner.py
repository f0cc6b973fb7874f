"""The requests of one resident model: they join its batch, decode together, and leave."""

import time

from mlx_notebook.engine.backends.backend import Backend, Progress, Token
from mlx_notebook.engine.errors import EngineError
from mlx_notebook.engine.generation.output_stream import OutputStream
from mlx_notebook.engine.generation.request import Request, Sequence
from mlx_notebook.engine.sampling.sampler import Row, make_row
from mlx_notebook.protocol import (
    Event,
    FinishReason,
    Prefill,
    PromptTokenIds,
    TokenIds,
    TokenLogprob,
)


class Runner:
    """Connects a backend, which knows tokens, with requests, which know texts and events."""

    def __init__(self, backend: Backend):
        self.backend = backend
        self._sequences: dict[int, Sequence] = {}

    def __len__(self) -> int:
        return len(self.backend)

    def join(self, request: Request, events: list[Event]) -> None:
        """Take a prepared request into the batch."""
        prompt, command, backend = request.prompt, request.command, self.backend
        assert prompt is not None
        request.phase, request.admitted = "prefill", time.perf_counter()
        # Rows of one request share one prefill: the others fork off once it is done.
        for index in range(1 if backend.trimmable else command.n):
            row = self._row(request, index)
            uid, cached = backend.insert(
                row, prompt, request.max_tokens, endless=command.sampling.ignore_eos
            )
            self._add(request, index, uid, row)
            request.cached = request.prefilled = cached
        if command.token_ids:
            events.append(PromptTokenIds(request.id, prompt.tokens))
        events.append(Prefill(request.id, request.cached, len(prompt.tokens), request.cached))

    def step(
        self, events: list[Event]
    ) -> tuple[list[Request], list[tuple[Request, EngineError]], int, int]:
        """Decode one token for every row.

        Returns
        -------
        finished, failed, generated, prefilled
            Requests that ended in this step, those that can go on no more with the reason (they
            are out of the batch), tokens generated, prompt tokens computed.
        """
        progress, tokens = self.backend.step()
        prefilled = sum(self._progress(prompt, events) for prompt in progress)
        finished, stopped, generated = [], [], 0
        failures: dict[Request, EngineError] = {}
        for token in tokens:
            sequence = self._sequences.get(token.uid)
            if sequence is None:  # a stop text has ended it among the tokens of this step
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
        return finished, list(failures.items()), generated, prefilled

    def drop(self, request: Request) -> None:
        """Take a cancelled request's rows out of the batch."""
        uids = [sequence.uid for sequence in request.sequences if not sequence.finished]
        if uids:
            self.backend.remove(uids)
            for uid in uids:
                del self._sequences[uid]

    def _row(self, request: Request, index: int) -> Row:
        assert request.prompt is not None
        return make_row(
            request.command.sampling,
            self.backend.defaults,
            request.prompt.tokens,
            index,
            request.plan.constraint(),
        )

    def _add(self, request: Request, index: int, uid: int, row: Row) -> None:
        reader = request.plan.reader()
        output = OutputStream(request.id, index, self.backend.tokenizer, reader)
        sequence = Sequence(request, index, uid, output, row.constraint)
        request.sequences.append(sequence)
        self._sequences[uid] = sequence

    def _progress(self, prompt: Progress, events: list[Event]) -> int:
        """Note how far a prompt is computed; once it is, let the other rows fork off."""
        sequence = self._sequences[prompt.uid]
        request = sequence.request
        if sequence.index > 0:
            return 0
        assert request.prompt is not None
        total = len(request.prompt.tokens)
        done = total if prompt.end else request.cached + prompt.done
        new, request.prefilled = done - request.prefilled, done
        if not prompt.end:
            events.append(Prefill(request.id, done, total, request.cached))
            return new
        for index in range(len(request.sequences), request.command.n):
            row = self._row(request, index)
            endless = request.command.sampling.ignore_eos
            uid = self.backend.fork(prompt.uid, row, request.max_tokens, endless=endless)
            self._add(request, index, uid, row)
        return new

    def _emit(self, sequence: Sequence, token: Token, events: list[Event]) -> FinishReason | None:
        """Pass one token on; returns why its row ended, if it did."""
        request, output = sequence.request, sequence.output
        if not request.first_token:
            request.first_token, request.phase = time.perf_counter(), "decode"
        sequence.generated += 1
        if request.command.token_ids:
            events.append(TokenIds(request.id, sequence.index, [token.id]))
        if token.finish != "stop":
            output.add(token.id, self._logprob(token), events)
        if output.stopped is not None:
            return "stop"
        return "length" if token.finish == "length" else "stop" if token.finish else None

    def _logprob(self, token: Token) -> TokenLogprob | None:
        if token.logprob is None:
            return None
        chosen, ids, values = token.logprob
        best = list(zip(ids.tolist(), values.tolist(), strict=True))
        return self.backend.vocabulary.logprob(token.id, chosen.item(), best)
