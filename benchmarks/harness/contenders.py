"""The contenders of the comparison: how to start, query and stop each. All load the same folder."""

import asyncio
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.harness.client import Endpoint, Reply, post
from benchmarks.harness.load import Request, Sample
from benchmarks.harness.processes import Service, environment, free_port

OURS = "mlx-notebook"
RAW_STREAM = "raw stream_generate"
RAW_BATCH = "raw BatchGenerator"
RAW_WIDE = "raw BatchGenerator, wide"
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Setting:
    """The settings that all contenders of one table share.

    `model` is the folder to load, `blas` the library to preload (`None`: nothing). `work` is a
    folder for logs and configuration, `environments` one for separate virtual environments.
    `streams` is the largest number of streams that run at once; servers get room for them.
    `variants` are further models of our server in the folder beside `model`, with their settings.
    """

    model: Path
    blas: Path | None
    work: Path
    environments: Path
    streams: int = 32
    variants: dict[str, dict[str, Any]] = field(default_factory=dict)


class Contender:
    """One contender: start it, send it requests, stop it."""

    name: str
    service: Service

    def takes(self, streams: int) -> bool:
        """Whether it takes part with that many streams."""
        return True

    async def start(self) -> None:
        """Start it and wait until it answers. Raise `RuntimeError` if it does not."""
        raise NotImplementedError

    async def send(self, requests: list[Request]) -> list[Sample]:
        """Generate an answer to each request, and measure each."""
        raise NotImplementedError

    async def run(self, prompts: list[str], tokens: int) -> list[Sample]:
        """Generate `tokens` tokens for each prompt, all at once, and measure each."""
        return await self.send([Request(prompt, tokens) for prompt in prompts])

    def stop(self) -> list[int]:
        """Stop its processes. Return those that had to be killed."""
        return self.service.stop()


class Raw:
    """The process that runs mlx-lm's own loops, shared by its contenders."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.service: Service | None = None
        self.users = 0
        self.given_up = False

    async def start(self) -> None:
        self.users += 1
        await self._running()

    async def ask(self, job: dict[str, Any]) -> dict[str, Any]:
        """Run a job. One that is given up ends the process; the next job starts another."""
        service = await self._running()
        assert service.process.stdin is not None
        service.process.stdin.write((json.dumps(job) + "\n").encode())
        service.process.stdin.flush()
        return await self._line(service, 180.0)

    async def _running(self) -> Service:
        if self.service is None or self.given_up:
            self.given_up = False
            self.service = Service(
                [sys.executable, "-m", "benchmarks.harness.raw", str(self.setting.model)],
                self.setting.work / "raw.log",
                environment(self.setting.blas),
                pipes=True,
                cwd=ROOT,
            )
            await self._line(self.service, 120.0)
        return self.service

    async def _line(self, service: Service, limit: float) -> dict[str, Any]:
        output = service.process.stdout
        assert output is not None
        try:
            line = await asyncio.wait_for(asyncio.to_thread(output.readline), limit)
        except (TimeoutError, asyncio.CancelledError):
            # Nobody would read its answer before that of the next job.
            service.stop(grace=2.0)
            self.given_up = True
            raise
        if not line:
            self.given_up = True
            raise RuntimeError(f"the raw loop died:\n{service.tail()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def stop(self) -> list[int]:
        self.users -= 1
        if self.users or self.service is None:
            return []
        service, self.service = self.service, None
        return service.stop()


class RawLoop(Contender):
    """One of mlx-lm's loops: `stream` for one prompt, `batch` and `wide` for many."""

    def __init__(self, raw: Raw, name: str, loop: str) -> None:
        self.raw = raw
        self.name = name
        self.loop = loop

    @property
    def service(self) -> Service:
        """The process, which all loops share."""
        assert self.raw.service is not None
        return self.raw.service

    def takes(self, streams: int) -> bool:
        """`stream` takes one stream, `wide` several: with one, it is the same as `batch`."""
        return {"stream": streams == 1, "wide": streams > 1}.get(self.loop, True)

    async def start(self) -> None:
        """Start the process, unless another loop has started it."""
        await self.raw.start()

    async def send(self, requests: list[Request]) -> list[Sample]:
        """Run the loop over the prompts."""
        names = ("prompt", "tokens", "delay", "late")
        asked = [{name: getattr(request, name) for name in names} for request in requests]
        answer = await self.raw.ask({"loop": self.loop, "requests": asked})
        return [
            Sample(
                started=row["started"],
                first=row["times"][0],
                ended=row["times"][-1],
                prompt_tokens=row["prompt_tokens"],
                cached_tokens=0,
                tokens=len(row["times"]),
                times=tuple(row["times"]),
            )
            for row in answer["rows"]
        ]

    def stop(self) -> list[int]:
        """Stop the process if no other loop uses it."""
        return self.raw.stop()


@dataclass(frozen=True)
class Recipe:
    """How to start a server: its command for (setting, port, key), and its chat route.

    `model` returns the model name for requests. `ready` is the path that answers 200 once it runs.
    """

    name: str
    command: Callable[[Setting, int, str], list[str]]
    model: Callable[[Setting], str]
    ready: str
    variables: Callable[[Setting], dict[str, str]] = lambda _: {}

    def with_options(self, *options: str) -> "Recipe":
        """Return the same server with more command-line options."""
        return replace(self, command=lambda s, p, k: [*self.command(s, p, k), *options])


class Server(Contender):
    """A server with OpenAI's chat route."""

    def __init__(self, setting: Setting, recipe: Recipe) -> None:
        self.setting = setting
        self.recipe = recipe
        self.name = recipe.name
        self.endpoint = Endpoint(free_port(), key=secrets.token_hex(16))

    async def start(self) -> None:
        """Start the process and wait until it answers a real request."""
        setting = self.setting
        self.service = Service(
            self.recipe.command(setting, self.endpoint.port, self.endpoint.key),
            setting.work / f"{self.name}.log",
            environment(setting.blas, self.recipe.variables(setting)),
            cwd=setting.work,
        )
        await self.service.ready(self.endpoint, self.recipe.ready)
        reply = await self.ask(Request("Hello.", 2))
        if reply.error:
            raise RuntimeError(f"its first answer was an error: {reply.error}")

    async def ask(self, request: Request, on_text: Callable[[], None] | None = None) -> Reply:
        """Send one chat request: greedy, streamed, with usage."""
        payload = {
            "model": self.recipe.model(self.setting),
            "messages": [{"role": "user", "content": request.prompt}],
            "max_tokens": request.tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        return await post(
            self.endpoint,
            payload | request.fields,
            drop_after_text=request.drop,
            on_text=on_text,
            timeout=180.0,
        )

    async def send(self, requests: list[Request]) -> list[Sample]:
        """Send each request when its time comes."""
        silent = {i for i, request in enumerate(requests) if not request.late}
        all_begun = asyncio.Event()

        def begin(index: int) -> None:
            silent.discard(index)
            if not silent:
                all_begun.set()

        async def later(index: int, request: Request) -> Sample:
            if request.late:
                await all_begun.wait()
            await asyncio.sleep(request.delay)
            try:
                return as_sample(await self.ask(request, lambda: begin(index)), request)
            finally:
                begin(index)

        return await asyncio.gather(*(later(i, request) for i, request in enumerate(requests)))


def as_sample(reply: Reply, request: Request) -> Sample:
    """Return the measurements of a reply. One that has too few tokens is an error."""
    usage = reply.usage
    made = int(usage.get("completion_tokens") or 0)
    error = reply.error
    if error is None and request.exact and not reply.dropped and made != request.tokens:
        error = f"{made} tokens instead of {request.tokens}"
    details = usage.get("prompt_tokens_details") or {}
    return Sample(
        started=reply.started,
        first=reply.first,
        ended=reply.ended,
        prompt_tokens=int(usage.get("prompt_tokens") or 0),
        cached_tokens=int(details.get("cached_tokens") or 0),
        tokens=made,
        error=error,
        times=tuple(reply.times),
    )


# --- the servers -------------------------------------------------------------------------------


def _notebook_command(setting: Setting, port: int, key: str) -> list[str]:
    return [
        sys.executable, "-m", "jupyter_server",
        "--ServerApp.jpserver_extensions={'mlx_notebook': True}",
        f"--ServerApp.port={port}", "--ServerApp.port_retries=0", "--ServerApp.ip=127.0.0.1",
        "--ServerApp.open_browser=False", f"--ServerApp.root_dir={setting.work}",
        f"--IdentityProvider.token={key}", "--allow-root", "--log-level=WARN",
        f"--MlxNotebookApp.models_dirs={setting.model.parent}",
        "--MlxNotebookApp.idle_unload_minutes=0",
        f"--MlxNotebookApp.max_batch={max(32, setting.streams)}",
        f"--MlxNotebookApp.model_settings={setting.variants}",
    ]  # fmt: skip


def _notebook_variables(setting: Setting) -> dict[str, str]:
    home = setting.work / "jupyter"
    home.mkdir(exist_ok=True)
    names = ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR")
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {name: str(home) for name in names} | {"PYTHONPATH": os.pathsep.join(paths)}


def _mlx_lm_command(setting: Setting, port: int, key: str) -> list[str]:
    return [
        sys.executable, "-m", "mlx_lm", "server", "--model", str(setting.model),
        "--port", str(port), "--log-level", "WARNING",
        "--decode-concurrency", str(max(32, setting.streams)),
    ]  # fmt: skip


def _mlx_vlm_command(setting: Setting, port: int, key: str) -> list[str]:
    return [
        sys.executable, "-m", "mlx_vlm.server", "--model", str(setting.model),
        "--host", "127.0.0.1", "--port", str(port), "--log-level", "WARNING",
    ]  # fmt: skip


def _vllm_mlx_command(setting: Setting, port: int, key: str) -> list[str]:
    return [
        str(setting.environments / "vllm-mlx" / "bin" / "vllm-mlx"), "serve", str(setting.model),
        "--host", "127.0.0.1", "--port", str(port), "--continuous-batching", "--offline",
    ]  # fmt: skip


def _path(setting: Setting) -> str:
    return str(setting.model)


def _folder_name(setting: Setting) -> str:
    return setting.model.name


NOTEBOOK = Recipe(OURS, _notebook_command, _folder_name, "/v1/models", _notebook_variables)
MLX_LM = Recipe("mlx_lm.server", _mlx_lm_command, _path, "/v1/models")
MLX_VLM = Recipe("mlx_vlm.server", _mlx_vlm_command, _path, "/v1/models")
VLLM_MLX = Recipe("vllm-mlx", _vllm_mlx_command, _path, "/v1/models")
RECIPES = {recipe.name: recipe for recipe in (NOTEBOOK, MLX_LM, MLX_VLM, VLLM_MLX)}


def make_contenders(setting: Setting, names: list[str]) -> list[Contender]:
    """Return the contenders called `names` (`raw` stands for all of mlx-lm's loops)."""
    found: list[Contender] = []
    for name in names:
        if name == "raw":
            raw = Raw(setting)
            found.append(RawLoop(raw, RAW_STREAM, "stream"))
            found.append(RawLoop(raw, RAW_BATCH, "batch"))
            found.append(RawLoop(raw, RAW_WIDE, "wide"))
        else:
            found.append(Server(setting, RECIPES[name]))
    return found


# --- an environment of its own -----------------------------------------------------------------

_PINNED = {"vllm-mlx": ["vllm-mlx==0.6.0"]}


def install(name: str, environments: Path) -> str | None:
    """Create a virtual environment for a contender that conflicts with ours; return `None`.

    If it cannot be installed, return the reason in one sentence, for the table.
    """
    folder = environments / name
    python = folder / "bin" / "python"
    if (folder / "installed").exists():
        return None
    packages = [*_PINNED[name], "mlx[cpu]" if sys.platform == "linux" else "mlx"]
    steps = [
        [sys.executable, "-m", "venv", "--clear", str(folder)],
        [str(python), "-m", "pip", "install", "--quiet", *packages],
    ]
    for step in steps:
        try:
            done = subprocess.run(step, capture_output=True, text=True, timeout=1200, check=False)
        except (OSError, subprocess.TimeoutExpired) as problem:
            return f"{name} could not be installed: {problem}"
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
            return f"{name} could not be installed: {reason}"
    (folder / "installed").write_text("\n".join(packages) + os.linesep)
    return None
