"""Keep the server's own work going when it fails."""

from collections.abc import Awaitable, Callable
from logging import Logger

import anyio

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.25, 8.0


async def restart_on_failure(what: str, work: Callable[[], Awaitable[None]], log: Logger) -> None:
    """Run `work` to its end. If it fails, log the error and run it again after a pause.

    The pause doubles from a quarter of a second to 8 seconds, while failures follow each other.

    Parameters
    ----------
    what
        Name of the work, for the log.
    """
    pause = _SHORTEST_PAUSE
    while True:
        began = anyio.current_time()
        try:
            await work()
            return
        except Exception:
            log.exception("%s failed. It is restarted.", what)
        if anyio.current_time() - began > _LONGEST_PAUSE:
            pause = _SHORTEST_PAUSE
        await anyio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
