"""`%mlx jobs`: list the server's long jobs, and stop one."""

from typing import Any

from mlx_notebook.notebook.chat.chat import Chat
from mlx_notebook.notebook.connection import connection
from mlx_notebook.notebook.errors import BadMagic
from mlx_notebook.notebook.human_units import format_duration
from mlx_notebook.notebook.magics.subcommands.arguments import parser
from mlx_notebook.notebook.magics.subcommands.tables import show_table

_COLUMNS = ("job", "what it does", "state", "how far", "time left")
_ENDED = ("finished", "stopped", "failed")


def jobs(line: str, _: Chat) -> None:
    """List the jobs that run or wait, and the last ones; `stop` stops one."""
    options = parser("jobs")
    options.add_argument("action", nargs="?", choices=["stop"])
    options.add_argument("id", nargs="?")
    arguments = options.parse(line)
    server = connection.connect()
    if arguments.action == "stop":
        if arguments.id is None:
            raise BadMagic("%mlx jobs stop: it needs the id of a job; `%mlx jobs` lists them.")
        job = server.post(f"mlx/jobs/{arguments.id}/cancel", {"keep": True})
        print(f"{job['title']}: {job['state']}. What it has done is kept.")
        return
    rows = [_row(job) for job in server.get("mlx/jobs")["jobs"]]
    if not rows:
        print("No jobs. Fine-tuning, for example, is one: `mlx_notebook.finetune?` says more.")
        return
    show_table(_COLUMNS, rows)


def _row(job: dict[str, Any]) -> tuple[str, ...]:
    """Describe a job: its id, what it does, its state, its progress or end, the time left."""
    done = f"{job['done']:,} of {job['total']:,} {job['unit']}" if job["total"] else job["phase"]
    end = job["message"] or str(job["result"].get("model") or "")
    left = job["seconds_left"]
    return (
        str(job["id"]),
        str(job["title"]),
        str(job["state"]),
        end if job["state"] in _ENDED else done,
        "" if left is None else format_duration(left),
    )
