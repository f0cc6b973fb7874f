"""Prompts of rows, answered by a chat model."""

from typing import Any

from mlx_notebook.notebook.server.server import Server
from mlx_notebook.notebook.tables.answer_cache import AnswerCache
from mlx_notebook.notebook.tables.row_chat import RowChat
from mlx_notebook.notebook.tables.row_loop import RowAnswer, RowLoop, RowRequest
from mlx_notebook.notebook.tools.tool import Tools

__all__ = ["RowAnswer", "RowRequest", "RowRunner"]


class RowRunner(RowLoop):
    """Answers prompts by a chat model. `RowChat` and `RowLoop` describe the parameters.

    Attributes
    ----------
    format
        The format of the answers; None without a schema.
    """

    def __init__(
        self,
        server: Server,
        model: str,
        *,
        system: str | None,
        schema: Any,
        tools: Tools | None,
        settings: dict[str, Any],
        retry: int,
        cache: AnswerCache | None,
    ) -> None:
        chat = RowChat(server, model, system=system, schema=schema, tools=tools, settings=settings)
        super().__init__(server, chat, retry=retry, cache=cache)
        self.format = chat.format
