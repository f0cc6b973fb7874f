"""Continuous batching: rows join and leave while others decode."""

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import mlx.core as mx
from mlx_lm.generate import generation_stream

from mlx_notebook.engine.batching.batch_row import BatchRow, NewToken, PromptProgress
from mlx_notebook.engine.batching.prefill_policy import LENGTHS, ROWS, PrefillPolicy
from mlx_notebook.engine.batching.prompt_group import PromptGroup
from mlx_notebook.engine.batching.row_batch import WIDTHS, RowBatch
from mlx_notebook.engine.batching.speculation import MOST_ROWS, Speculation
from mlx_notebook.engine.kv_cache.batch_cache import BatchCache
from mlx_notebook.engine.sampling.row import Row
from mlx_notebook.protocol import URGENT_ROWS

_URGENT_PAUSE = 0.04
"""Most seconds of a chunk of an urgent prompt: its client may leave at any time."""

_TYPING_SECONDS, _TYPING_PAUSE = 10.0, 0.1
"""For so long after an urgent prompt another one is expected; chunks are as short meanwhile."""

_PATIENT_PAUSE = 0.2
"""Most seconds of a chunk of a patient prompt: others that arrive wait until it ends."""


def place_in_turn(waiting: Sequence[str], user: str) -> int:
    """Return where a new row of a user waits: behind as many rows of each user as are before it.

    Parameters
    ----------
    waiting
        The users of the rows that wait, in their order.
    """
    own = waiting.count(user)
    before = Counter[str]()
    for place, other in enumerate(waiting):
        if before[other] > own:
            return place
        before[other] += 1
    return len(waiting)


def _lane(row: BatchRow) -> int:
    """Return 0 for an urgent row, 2 for a patient one, 1 for all others."""
    return 0 if row.urgent else 2 if row.patient else 1


class RowGenerator:
    """All rows of one model: those that wait, those whose prompts are computed, those that decode.

    Parameters
    ----------
    model
        Called with tokens and KV caches, it returns logits.
    policy
        Which prompts to compute when.
    max_rows
        Most rows whose prompts are computed or that decode. Further ones wait.
    empty_cache
        Returns the caches of a row without tokens.

    Attributes
    ----------
    urgent_rows
        How many rows beyond `max_rows` urgent prompts may take.
    patient_rows
        How many rows patient prompts may take, beside those of others. 0: they share `max_rows`.
    max_begun
        How many more prompts may begin; None for any number.
    """

    def __init__(
        self,
        model: Any,
        policy: PrefillPolicy,
        max_rows: int,
        empty_cache: Callable[[], list[Any]],
    ):
        self.max_rows, self.urgent_rows = max_rows, URGENT_ROWS
        self.patient_rows = max(1, max_rows // 2)
        self.max_begun: int | None = None
        self._model, self._policy, self._empty_cache = model, policy, empty_cache
        self._waiting: deque[BatchRow] = deque()
        self._groups: list[tuple[PromptGroup, float]] = []
        self._batch = RowBatch(model)
        self._uids = 0
        self._last_urgent = -math.inf
        self._step_seconds = 0.0

    def __len__(self) -> int:
        return len(self._waiting) + self.computing + len(self._batch)

    def speculate(self, speculation: Speculation) -> None:
        """Use speculative decoding."""
        self._batch.speculation = speculation

    @property
    def computing(self) -> int:
        """How many prompts are being computed."""
        return sum(len(group) for group, _ in self._groups)

    @property
    def kv_bytes(self) -> int:
        """Bytes of the KV caches of all rows."""
        waiting = sum(int(layer.nbytes) for row in self._waiting for layer in row.cache)
        return waiting + self._batch.nbytes + sum(group.nbytes for group, _ in self._groups)

    @property
    def waiting_caches(self) -> list[list[Any]]:
        """The caches of the prompts that have not begun, in their order."""
        return [row.cache for row in self._waiting]

    def wait_seconds(self, tokens: int) -> float:
        """Return how many seconds a prompt of so many tokens that came alone waits for others."""
        return self._policy.wait_seconds(tokens)

    def insert(
        self,
        segments: list[list[int]],
        settings: Row,
        *,
        cache: list[Any],
        tokens: list[int],
        max_tokens: int,
        ends: Iterable[int],
        user: str = "",
        urgent: bool = False,
        patient: bool = False,
    ) -> int:
        """Add a row; return its number.

        Parameters
        ----------
        segments
            The rest of its prompt. The end of each segment is reported.
        cache, tokens
            Its KV caches, and the tokens that they hold.
        ends
            Tokens that end the row.
        user
            The user whose row it is. The rows of users wait in turn.
        urgent
            Whether it goes before all rows that are not urgent.
        patient
            Whether it goes after all others.
        """
        uid, self._uids = self._uids, self._uids + 1
        ended_by = frozenset(ends)
        row = BatchRow(
            *(uid, settings, cache, list(tokens), segments, max_tokens, ended_by, user, urgent),
            patient=patient,
        )
        lane = _lane(row)
        first = sum(_lane(other) < lane for other in self._waiting)
        equals = [other.user for other in self._waiting if _lane(other) == lane]
        self._waiting.insert(first + place_in_turn(equals, user), row)
        if urgent:
            self._last_urgent = time.perf_counter()
        return uid

    def fork(self, uid: int, settings: Row, max_tokens: int, ends: Iterable[int]) -> int:
        """Add a row with the prompt of row `uid`, which has not decoded yet; return its number."""
        row = next(row for row in self._batch.rows if row.uid == uid)
        cache, last = self._batch.extract(row), row.known[:1]
        return self.insert(
            [last],
            settings,
            cache=cache,
            tokens=row.tokens,
            max_tokens=max_tokens,
            ends=ends,
            user=row.user,
            urgent=row.urgent,
            patient=row.patient,
        )

    def extract(self, uid: int) -> tuple[list[Any], list[int]]:
        """Return copies of a row's KV caches, and the tokens that they hold.

        Raises
        ------
        KeyError
            If there is no such row.
        """
        for row in self._waiting:
            if row.uid == uid:
                return row.cache, row.tokens
        for batch in self._batches:
            for row in batch.rows:
                if row.uid == uid:
                    return batch.extract(row), row.tokens
        raise KeyError(uid)

    def __contains__(self, uid: int) -> bool:
        return any(row.uid == uid for row in self._waiting) or any(
            row.uid == uid for batch in self._batches for row in batch.rows
        )

    def remove(self, uids: Sequence[int]) -> None:
        """Remove rows."""
        gone = set(uids)
        self._waiting = deque(row for row in self._waiting if row.uid not in gone)
        for batch in self._batches:
            batch.remove([row for row in batch.rows if row.uid in gone])
        self._groups = [(group, at) for group, at in self._groups if len(group)]

    def warm_up(self) -> Iterator[None]:
        """Compute chunks of the usual sizes, where every new size costs time; yield after each."""
        if not self._policy.limits.rounding:
            return
        with mx.stream(generation_stream):
            for rows in ROWS:
                for length in LENGTHS[1:4]:
                    cache = BatchCache([self._empty_cache() for _ in range(rows)])
                    inputs = mx.zeros((rows, length), mx.uint32)
                    cache.feed(self._model, inputs, [length] * rows, only_state=True)
                    mx.eval(cache.state)
                    yield
            for rows in (1, MOST_ROWS, ROWS[-1]):
                cache = BatchCache([self._empty_cache() for _ in range(rows)])
                for width in WIDTHS[1:]:
                    mx.eval(cache.feed(self._model, mx.zeros((rows, width), mx.uint32), [1] * rows))
                    yield

    def next(self) -> tuple[list[PromptProgress], list[NewToken]]:
        """Decode a step, then compute a chunk of some prompts; in a burst only one of the two."""
        with mx.stream(generation_stream):
            began = time.perf_counter()
            runs = len(self._batch) > 0 and not self._rests
            burst = runs and self._is_burst
            first = burst and any(not row.generated for row in self._batch.rows)
            decodes = runs and (first or not burst)
            tokens = self._batch.step() if decodes else []
            self._step_seconds = time.perf_counter() - began
            progress = self._join_ready()
            if not progress and not first:
                progress = self._compute(decoding=decodes)
            return progress, tokens

    @property
    def _batches(self) -> list[PromptGroup | RowBatch]:
        return [*(group for group, _ in self._groups), self._batch]

    @property
    def _is_burst(self) -> bool:
        """Whether all rows have just begun, and prompts that came with them have not."""
        batches = [*(batch.rows for batch in self._batches), self._waiting]
        if any(row.urgent for rows in batches for row in rows):
            return False
        pending = [group.left for group, _ in self._groups] + self._may_begin()
        return self._policy.gathers([row.generated for row in self._batch.rows], pending)

    @property
    def _rests(self) -> bool:
        """Whether the batch waits, because all its rows are patient and another prompt is not."""
        if not all(row.patient for row in self._batch.rows):
            return False
        if any(not group.patient for group, _ in self._groups):
            return True
        return bool(self._waiting and not self._waiting[0].patient and self._room())

    def _room(self, *, urgent: bool = False, patient: bool = False) -> int:
        """Return how many more prompts may begin now."""
        most = self.max_rows + (self.urgent_rows if urgent else 0)
        taken = self.computing + len(self._batch)
        if self.patient_rows:
            rows = sum(row.patient for batch in self._batches for row in batch.rows)
            most, taken = (self.patient_rows, rows) if patient else (most, taken - rows)
        room = max(0, most - taken)
        return room if self.max_begun is None else min(room, self.max_begun)

    def _may_begin(self) -> list[int]:
        """Return the tokens of the prompts that may begin: patient ones if there are no others."""
        others = [row.left for row in self._waiting if not row.patient][: self._room()]
        if others or not self._waiting or not self._waiting[0].patient:
            return others
        if any(not group.patient for group, _ in self._groups):
            return []
        return [row.left for row in self._waiting][: self._room(patient=True)]

    def _join_ready(self) -> list[PromptProgress]:
        """Let waiting rows decode that have nothing to compute before."""
        ready: list[BatchRow] = []
        for row in self._waiting:
            room = self._room(urgent=row.urgent, patient=row.patient)
            if not row.left and len(ready) < room:
                ready.append(row)
        if not ready:
            return []
        self._waiting = deque(row for row in self._waiting if row not in ready)
        return self._join(ready, BatchCache([row.cache for row in ready]))

    def _compute(self, *, decoding: bool) -> list[PromptProgress]:
        """Compute a chunk of the prompts whose turn it is; rows wait for it if they decode."""
        # Urgent rows wait before all others, and begin without them.
        urgent = [row.left for row in self._waiting if row.urgent][: self._room(urgent=True)]
        waiting = urgent or self._may_begin()
        if not waiting and not self._groups:
            return []
        now = time.perf_counter()
        decoding = decoding and any(not row.patient for row in self._batch.rows)
        turn = self._turn(waiting, now, urgent=bool(urgent))
        if turn is None:
            turn = self._begin(self._policy.begin(waiting, decoding=decoding))
        group, _ = self._groups.pop(turn)
        typing = now - self._last_urgent < _TYPING_SECONDS
        pause = _URGENT_PAUSE if group.urgent else _TYPING_PAUSE if typing else math.inf
        pause = min(pause, _PATIENT_PAUSE) if group.patient else pause
        most = self._policy.chunk(
            len(group),
            decoding=decoding,
            step_seconds=self._step_seconds,
            most_seconds=pause,
        )
        progress, fed = group.compute(most)
        done = time.perf_counter()
        self._policy.speed.add(fed, done - now)
        rows, cache = group.take_computed()
        if len(group):
            self._groups.append((group, done))
        return [*progress, *self._join(rows, cache)]

    def _turn(self, waiting: list[int], now: float, *, urgent: bool) -> int | None:
        """Return the index of the group to go on with; None: begin some that wait."""
        if urgent:
            return None
        for index, (group, _) in enumerate(self._groups):
            if group.urgent:
                return index
        lane = [index for index, (group, _) in enumerate(self._groups) if not group.patient]
        if not lane:
            if waiting and not self._waiting[0].patient:
                return None
            lane = list(range(len(self._groups)))
        groups = [self._groups[index] for index in lane]
        turn = self._policy.turn([(group.left, now - at) for group, at in groups], waiting)
        return None if turn is None else lane[turn]

    def _begin(self, indices: list[int]) -> int:
        """Begin the waiting prompts with these indices as a group; return the group's index."""
        chosen = set(indices)
        rows = [row for index, row in enumerate(self._waiting) if index in chosen]
        self._waiting = deque(row for index, row in enumerate(self._waiting) if index not in chosen)
        if self.max_begun is not None:
            self.max_begun -= len(rows)
        self._groups.append((self._group(rows), 0.0))
        return len(self._groups) - 1

    def _group(self, rows: list[BatchRow]) -> PromptGroup:
        return PromptGroup(self._model, rows, self._policy.padded, self._empty_cache)

    def _join(self, rows: list[BatchRow], cache: BatchCache) -> list[PromptProgress]:
        """Let rows decode whose prompts are computed."""
        if not rows:
            return []
        for row in rows:
            row.cache = []
            row.begin()
        self._batch.join(rows, cache)
        return [PromptProgress(row.uid, row.total, False, True) for row in rows]
