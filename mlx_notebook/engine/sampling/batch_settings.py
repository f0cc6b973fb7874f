"""The sampling settings of a batch as arrays, made once for as long as its rows stay the same."""

import math

import mlx.core as mx

from mlx_notebook.engine.sampling.row import Row


class BatchSettings:
    """The settings of some rows, one array row each, and which steps of the sampler they need.

    Attributes
    ----------
    greedy
        Whether all rows take the most likely token. Then there are no arrays.
    adjusted, constrained, reported
        Indices of the rows with penalties or a bias, with a constraint, with log probabilities.
    uses_top_filters, uses_typical_p, uses_xtc
        Whether any row uses these filters.
    """

    def __init__(self, rows: list[Row]):
        self._rows = list(rows)
        self.greedy = all(row.temperature <= 0 for row in rows)
        self.adjusted = [i for i, row in enumerate(rows) if row.adjusted]
        self.constrained = [i for i, row in enumerate(rows) if row.constraint is not None]
        self.reported = [i for i, row in enumerate(rows) if row.logprobs is not None]
        self.uses_top_filters = any(row.uses_top_filters for row in rows)
        self.uses_typical_p = any(row.uses_typical_p for row in rows)
        self.uses_xtc = any(row.uses_xtc for row in rows)
        if self.greedy:
            return
        self.inverse_temperature = _column([1 / (r.temperature or 1) for r in rows])
        self.noise_scale = _column([float(r.temperature > 0) for r in rows])
        self.keys = mx.array([row.random_key for row in rows], mx.uint32)
        self.next_key = mx.array([0, 1], mx.uint32)
        if self.uses_top_filters:
            self.top_p = _column([r.top_p if r.temperature > 0 else 1.0 for r in rows])
            self.log_min_p = _column(
                [math.log(r.min_p) if r.min_p > 0 else -math.inf for r in rows]
            )
            self.top_k = mx.array([r.top_k for r in rows], mx.int32)[:, None]
        if self.uses_typical_p:
            self.typical_p = _column([r.typical_p if r.uses_typical_p else 1.0 for r in rows])
        if self.uses_xtc:
            self.xtc_probability = _column([r.xtc_probability if r.uses_xtc else 0.0 for r in rows])
            self.xtc_threshold = _column([r.xtc_threshold for r in rows])

    def are_of(self, rows: list[Row]) -> bool:
        """Return whether these are the settings of exactly these rows."""
        return len(rows) == len(self._rows) and all(
            a is b for a, b in zip(rows, self._rows, strict=True)
        )


def _column(values: list[float]) -> mx.array:
    return mx.array(values, mx.float32)[:, None]
