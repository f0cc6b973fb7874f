"""A chat whose tools run beside the panel's thread, and which prints nothing into cells."""

import asyncio
from collections.abc import Callable
from typing import Any

from mlx_notebook.notebook.chat.chat import AsyncChat
from mlx_notebook.notebook.tools.tool import Tool


class ThreadedTool(Tool):
    """A tool whose function runs on another thread, so that it does not block the panel thread."""

    def __init__(self, tool: Tool) -> None:
        self._tool = tool
        self.name, self.description, self.parameters = tool.name, tool.description, tool.parameters
        self.is_async = True

    def prepare(self, arguments: str | dict[str, Any]) -> Callable[[], Any]:
        """Validate arguments and return the call to make."""
        make = self._tool.prepare(arguments)
        return make if self._tool.is_async else lambda: asyncio.to_thread(make)


class PanelChat(AsyncChat):
    """A chat that prints nothing into cells."""

    def _print_notice(self) -> None:
        """Do nothing, because the panel shows every change of the model."""
