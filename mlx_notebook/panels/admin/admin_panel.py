"""The panel Users: what each user of the server asks for, in numbers."""

from typing import Any

from mlx_notebook.panels.base.panel import Panel, module
from mlx_notebook.panels.base.server_watcher import ServerWatcher

# Shown in place of a name for those who use the server's own token.
NO_NAME = "server's token"


class AdminPanel(Panel):
    """The usage of all users for an admin, and of oneself for anyone else. No texts."""

    _esm = module("admin/admin")
    name = "Users"
    topics = frozenset({"usage"})

    def build_fields(self, source: ServerWatcher) -> dict[str, Any]:
        """Return the usage by user, the totals, and what an admin may see."""
        usage = source.usage
        if usage is None:
            return {}
        rows = [
            {**row, "user": row["user"] or NO_NAME, "key": row["user"]} for row in usage["users"]
        ]
        return {
            "users": {row["key"]: row for row in rows},
            "totals": usage["totals"],
            "since": usage["since"],
            "all_users": usage["all_users"],
            "admin_reads_texts": usage["admin_reads_texts"],
        }

    def summary_rows(self) -> list[tuple[str, str]]:
        """Return the requests and tokens of each user."""
        users = self.fields.get("users", {}).values()
        return [(row["user"], _counts(row)) for row in sorted(users, key=lambda row: row["user"])]


def _counts(row: dict[str, Any]) -> str:
    tokens = row["prompt_tokens"] + row["generated_tokens"]
    return f"requests: {row['requests']:,}, tokens: {tokens:,}, refused: {row['refused']:,}"


def admin_panel() -> AdminPanel:
    """Create a panel of the server's users. Display it as the last expression of a cell.

    An admin sees all users, anyone else only themselves. It shows numbers and no texts.

    Returns
    -------
    AdminPanel
        The panel.

    Examples
    --------
    >>> mlx_notebook.admin_panel()
    """
    return AdminPanel()
