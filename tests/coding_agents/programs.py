"""The coding agents: where they come from, how they are configured, and how they are run."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlx_notebook.notebook.connection.client_configurations import CLIENT_CONFIGURATIONS
from mlx_notebook.notebook.connection.configured_model import ConfiguredModel

COMMAND = "echo made > made.txt && cat made.txt"
# Outside of the repository's own files; several runs share it.
PROGRAMS = Path(__file__).parents[2] / "build" / "coding-agents"
LONGEST_SECONDS = 600


@dataclass(frozen=True)
class Agent:
    """One program.

    Attributes
    ----------
    package
        Its package, with the version that was tried.
    command
        What a user types before the task.
    again
        What a user adds for a second turn of the same session; None if it has no such way.
    configuration
        Its name for `%mlx connect --print`.
    file
        Where its settings belong in the user's home folder; None if they are variables of a shell,
        or a command.
    calls
        The arguments of each tool that it is made to call.
    """

    package: str
    command: tuple[str, ...]
    configuration: str
    file: str | None = None
    again: tuple[str, ...] | None = None
    calls: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def install(self) -> Path:
        """Install the program unless it is there. Return the folder of its commands."""
        name, _, version = self.package.rpartition("@")
        folder = PROGRAMS / name.replace("/", "-").lstrip("@") / version
        if self.configuration == "aider":
            commands = folder / "bin"
            steps = [
                [sys.executable, "-m", "venv", str(folder)],
                [str(commands / "pip"), "install", "-q", f"{name}=={version}"],
            ]
        else:
            commands = folder / "node_modules" / ".bin"
            steps = [["npm", "install", "--silent", "--prefix", str(folder), self.package]]
        done = folder / "installed"
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            for step in steps:
                subprocess.run(step, check=True)
            done.touch()
        return commands

    def configure(self, home: Path, model: ConfiguredModel) -> dict[str, str]:
        """Write the settings into a home folder. Return the variables that a shell must have."""
        written = CLIENT_CONFIGURATIONS[self.configuration].write(model)
        if self.file is not None:
            path = home / self.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(written)
        lines = [line.removeprefix("# ") for line in written.splitlines() if "export " in line]
        pairs = [shlex.split(line)[1].partition("=") for line in lines]
        return {name: value for name, _, value in pairs}

    def run(
        self, more: tuple[str, ...], task: str, home: Path, variables: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """Give the agent a task in its folder."""
        program, *words = self.command
        path = f"{self.install()}{os.pathsep}{os.environ['PATH']}"
        given = {"PATH": path, "HOME": str(home), "TERM": "dumb", "CI": "1"}
        return subprocess.run(
            [str(self.install() / program), *words, *more, task],
            cwd=home / "work",
            env={**given, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LONGEST_SECONDS,
        )


AGENTS = {
    "aider": Agent(
        "aider-chat@0.86.2",
        ("aider", "--yes-always", "--no-git", "--no-check-update", "--message"),
        "aider",
    ),
    "claude-code": Agent(
        "@anthropic-ai/claude-code@2.1.197",
        ("claude", "--allowedTools=Bash", "-p"),
        "claude-code",
        again=("-c",),
        calls={"Bash": {"command": COMMAND, "description": "Make a file"}},
    ),
    "cline": Agent(
        "cline@3.0.65",
        ("cline", "--yolo"),
        "cline",
        calls={
            "run_commands": {"commands": [COMMAND]},
            "submit_and_exit": {"summary": "A file was made.", "verified": True},
        },
    ),
    "codex": Agent(
        "@openai/codex@0.171.0",
        ("codex", "exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"),
        "codex",
        file=".codex/config.toml",
        again=("resume", "--last"),
        calls={"exec_command": {"cmd": COMMAND}},
    ),
    "continue": Agent(
        "@continuedev/cli@1.5.47",
        ("cn", "-p", "--auto"),
        "continue",
        file=".continue/config.yaml",
        again=("--resume",),
        calls={"Bash": {"command": COMMAND}},
    ),
    "opencode": Agent(
        "opencode-ai@1.18.33",
        ("opencode", "run"),
        "opencode",
        file=".config/opencode/opencode.json",
        again=("-c",),
        calls={"bash": {"command": COMMAND, "description": "Make a file"}},
    ),
    "pi": Agent(
        "@mariozechner/pi-coding-agent@0.73.1",
        ("pi", "-p", "--provider", "mlx-notebook", "--model", "tiny-agent"),
        "pi",
        file=".pi/agent/models.json",
        again=("-c",),
        calls={"bash": {"command": COMMAND}},
    ),
    "qwen-code": Agent(
        "@qwen-code/qwen-code@0.15.10",
        ("qwen", "--yolo", "--auth-type", "openai"),
        "qwen-code",
        again=("-c",),
        calls={"run_shell_command": {"command": COMMAND, "is_background": False}},
    ),
}
