"""The dashboard: all panels behind tabs."""

from typing import Any

import ipywidgets
import traitlets

from mlx_notebook.notebook.tools.tool import Tools
from mlx_notebook.panels.base.panel import Panel, module
from mlx_notebook.panels.base.server_watcher import ServerWatcher
from mlx_notebook.panels.chat.chat_panel import ChatPanel
from mlx_notebook.panels.inspector.inspector_panel import InspectorPanel
from mlx_notebook.panels.models.models_panel import ModelsPanel
from mlx_notebook.panels.stats.stats_panel import StatsPanel


class Dashboard(Panel):
    """Models, activity, inspector and chat behind tabs.

    Attributes
    ----------
    models, stats, inspector, chat
        The panels. Each works alone too.
    """

    _esm = module("dashboard/dashboard")
    name = "Dashboard"
    panels: Any = traitlets.List().tag(sync=True, **ipywidgets.widget_serialization)

    def __init__(self, tools: Tools = (), **chat: Any) -> None:
        self.models = ModelsPanel()
        self.stats = StatsPanel()
        self.inspector = InspectorPanel()
        self.chat = ChatPanel(tools, **chat)
        super().__init__()
        self.panels = self._parts

    @property
    def _parts(self) -> list[Panel]:
        return [self.models, self.stats, self.inspector, self.chat]

    def listen(self) -> None:
        """Subscribe to the server's state, with all panels."""
        super().listen()
        for panel in self._parts:
            panel.listen()

    def close(self) -> None:
        """Close all panels."""
        for panel in self._parts:
            panel.close()
        super().close()

    def build_fields(self, source: ServerWatcher) -> dict[str, Any]:
        """Return what stands above the tabs."""
        status = source.status
        if status is None:
            return {}
        return {
            "requests": status["queue"]["running"] + status["queue"]["waiting"],
            "round_trip": source.round_trip and round(source.round_trip, 3),
            "resident": [model["id"] for model in status["models"]],
        }

    def summary_rows(self) -> list[tuple[str, str]]:
        """Return the rows of the panels Models and Activity."""
        return self.models.summary_rows() + self.stats.summary_rows()


def dashboard(tools: Tools = (), **chat: Any) -> Dashboard:
    """Create a dashboard of all panels. Display it as the last expression of a cell.

    Parameters
    ----------
    tools
        Functions of the notebook that the model may call in the panel Chat.
    chat
        Other parameters of `chat_panel`.

    Returns
    -------
    Dashboard
        The panel.

    Examples
    --------
    >>> mlx_notebook.dashboard(tools=[weather])
    """
    return Dashboard(tools, **chat)
