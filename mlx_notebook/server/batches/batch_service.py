"""Give handlers what there is of files and batches."""

from mlx_notebook.server.batches.batch_database import BatchDatabase
from mlx_notebook.server.batches.file_store import FileStore


class BatchService:
    """Files and batches.

    Parameters
    ----------
    database
        Where they are kept.

    Attributes
    ----------
    files
        The files.
    """

    def __init__(self, database: BatchDatabase) -> None:
        self._database = database
        self.files = FileStore(database)

    async def close(self) -> None:
        """Close the database."""
        await self._database.close()
