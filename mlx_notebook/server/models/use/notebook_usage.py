"""Track which models open notebooks have used, so that these are not unloaded as idle.

The kernel of a notebook names itself in a header of its requests. While it runs it calls
`mlx/models/keep` regularly, and its models count as used.
"""

import time
from collections import OrderedDict
from typing import Any

from mlx_notebook.server.identity import OWNER

KERNEL_HEADER = "X-Mlx-Notebook-Kernel"
_MAX_NAME_LENGTH = 64
_MAX_KERNELS = 1000
_MAX_MODELS = 64


class NotebookUsage:
    """Record when each kernel last used each model.

    Parameters
    ----------
    seconds
        Time after its last use for which a kernel keeps a model in memory; 0 keeps none.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._used: OrderedDict[tuple[str, str], OrderedDict[str, float]] = OrderedDict()

    def note(self, kernel: str, model: str, user: str = OWNER) -> None:
        """Record that a user's kernel uses a model now."""
        if not kernel or len(kernel) > _MAX_NAME_LENGTH or self._seconds <= 0:
            return
        models = self._used.setdefault((user, kernel), OrderedDict())
        models[model] = time.monotonic()
        _keep_newest(self._used, (user, kernel), _MAX_KERNELS)
        _keep_newest(models, model, _MAX_MODELS)

    def models(self, kernel: str, user: str = OWNER) -> list[str]:
        """Return the models that a user's kernel has used recently, and forget the others."""
        oldest = time.monotonic() - self._seconds
        used = self._used.get((user, kernel), OrderedDict())
        for model in [model for model, at in used.items() if at < oldest]:
            del used[model]
        if not used:
            self._used.pop((user, kernel), None)
        return list(used)


def _keep_newest(entries: OrderedDict[Any, Any], key: Any, limit: int) -> None:
    entries.move_to_end(key)
    while len(entries) > limit:
        entries.popitem(last=False)
