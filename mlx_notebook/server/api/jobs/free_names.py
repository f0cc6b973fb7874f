"""Check that a name is free, for the jobs that make a model or an adapter."""

import asyncio
from pathlib import Path

from mlx_notebook.server.errors import Conflict
from mlx_notebook.server.services import Services


async def require_free(
    services: Services, folder: Path, name: str, advice: str = "Choose another name."
) -> None:
    """Check that nothing has the name of what is to be made.

    Parameters
    ----------
    folder
        Where it is to be.
    advice
        What to do where the name is taken.

    Raises
    ------
    Conflict
        If something has the name.
    """
    await services.catalog.refresh()
    if services.catalog.source_of(name) is not None or await asyncio.to_thread(folder.exists):
        raise Conflict(
            f"There is a model or an adapter {name!r} already. {advice}",
            param="name",
            code="name_taken",
        )
