"""Define the settings: traits for Jupyter's configuration and the command line."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from traitlets import (
    Bool,
    CaselessStrEnum,
    Float,
    Integer,
    List,
    TraitError,
    Unicode,
    default,
    validate,
)

from mlx_notebook.protocol import DistributedConfig, EngineConfig
from mlx_notebook.server.batches.batch_configuration import BatchConfiguration
from mlx_notebook.server.engine.engine_configuration import EngineConfiguration
from mlx_notebook.server.engine.supervisor import SupervisorLimits
from mlx_notebook.server.mcp.mcp_configuration import McpConfiguration
from mlx_notebook.server.media.media_configuration import MediaConfiguration
from mlx_notebook.server.models.settings.model_configuration import ModelConfiguration
from mlx_notebook.server.users.user_configuration import UserConfiguration


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # its package is missing
        return False


class Configuration(
    ModelConfiguration,
    MediaConfiguration,
    EngineConfiguration,
    UserConfiguration,
    BatchConfiguration,
    McpConfiguration,
):
    """Hold the traits of the extension app, and derive the engine's configuration from them.

    This is no `Configurable`, so that the settings are named `MlxNotebookApp.<name>`.
    """

    # --- requests ---------------------------------------------------------------------------------

    max_batch = Integer(
        32, min=1, help="Most sequences that are decoded together. Others wait."
    ).tag(config=True)

    queue_limit = Integer(
        64,
        min=0,
        help="Most sequences that may wait beyond max_batch. Further requests get a 429.",
    ).tag(config=True)

    prefill_step = Integer(
        4096,
        min=16,
        help="""Most tokens of one prompt that one step computes. The engine takes fewer while
        other streams run, or if so many would take more than a second.""",
    ).tag(config=True)

    max_pause_seconds = Float(
        0.5,
        min=0.01,
        help="""Longest pause of running streams while prompts are computed. The engine measures its
        speed and computes as many tokens at a time as fit, at least 16. A shorter pause makes long
        prompts slower. Where a step takes long, a pause may take three steps, up to a second.
        Streams that have all just begun, with 16 tokens at most, wait for a group of short prompts
        as long as it takes, so that a burst decodes together.""",
    ).tag(config=True)

    max_prompt_tokens = Integer(
        0, min=0, help="Longest prompt, in tokens. 0: the context length of the model."
    ).tag(config=True)

    max_body_bytes = Integer(
        32 * 1024 * 1024, min=1024, help="Largest request body, in bytes. A larger one gets a 413."
    ).tag(config=True)

    ollama_without_token = Bool(
        False,
        help="""Answer Ollama's routes (api/... and mlx/ollama/) without the token, for programs on
        this machine that cannot send one. No other route is opened. Then every program and every
        user of this machine may run its models and read which there are. Requests of web pages,
        with another host name than this machine's, or through a proxy still need the token.
        Models are downloaded without it only if auto_download is set. It does not work with
        JupyterHub, or if the server has no token.""",
    ).tag(config=True)

    lmstudio_without_token = Bool(
        False,
        help="""Answer LM Studio's routes (api/v0/..., api/v1/... and mlx/lmstudio/) without the
        token. All that is said of ollama_without_token holds for it. MCP servers need the token.
        """,
    ).tag(config=True)

    body_timeout_seconds = Float(
        300.0,
        min=1.0,
        help="Seconds in which the body of a request must arrive. A slower one gets a 408.",
    ).tag(config=True)

    max_messages = Integer(
        4096, min=1, help="Most messages in one request. A request with more gets a 400."
    ).tag(config=True)

    # --- responses --------------------------------------------------------------------------------

    keep_alive_seconds = Float(
        10.0,
        min=0.1,
        help="""Send a comment to a streaming client after this many seconds without a token, so
        that no proxy closes the connection. If the client's machine does not answer for this long,
        the connection is closed and the request ends.""",
    ).tag(config=True)

    max_sockets = Integer(
        32,
        min=0,
        help="""Most WebSockets to v1/responses that a user may have open. A further one gets a 429.
        0: none.""",
    ).tag(config=True)

    socket_minutes = Float(
        60.0,
        min=0.0001,
        help="""Minutes that a WebSocket to v1/responses may be open. A response that runs then ends
        first.""",
    ).tag(config=True)

    responses_max_age_days = Float(
        30.0,
        min=0.0,
        help="Days after its last use until a stored response or chat completion is deleted.",
    ).tag(config=True)

    responses_max_bytes = Integer(
        256 * 1024 * 1024,
        min=0,
        help="""Disk space for stored responses and chat completions, in bytes. The least recently
        used ones are deleted first. 0: none are stored.""",
    ).tag(config=True)

    conversations_max_bytes = Integer(
        1024 * 1024 * 1024,
        min=0,
        help="""Disk space for a user's conversations of JupyterLab's sidebar, in bytes. They are in
        Jupyter's data directory. 0: none are saved there.""",
    ).tag(config=True)

    traces_limit = Integer(
        100,
        min=0,
        help="""Most requests of a user that are kept for mlx/traces, with their texts, in memory
        only. 0: none.""",
    ).tag(config=True)

    shared_between_users = List(
        CaselessStrEnum(["requests", "settings", "prefixes"]),
        help="""What the users of one server share, if Jupyter knows them apart (for example with
        JupyterHub). "requests": everyone sees and can stop all requests. "settings": what one user
        saves for a model, for example its system message, applies to all. "prefixes": the prefix
        cache is shared. Then the time and the cached_tokens of a request reveal that somebody has
        sent the same text before. All who use the server's token or password are one user.""",
    ).tag(config=True)

    service_url = Unicode(
        help="""Address of an mlx-notebook service of the JupyterHub that started this server, for
        example "http://127.0.0.1:10101/services/mlx/". Then this server passes all requests on to
        the service, with its user's token, and runs no engine. Default: the environment variable
        MLX_NOTEBOOK_SERVICE_URL, which the Hub's configuration sets for all notebook servers.
        jupyter mlx-notebook itself does not use it."""
    ).tag(config=True)

    @default("service_url")
    def _service_url_default(self) -> str:
        return os.environ.get("MLX_NOTEBOOK_SERVICE_URL", "")

    @validate("service_url")
    def _check_service_url(self, proposal: dict[str, Any]) -> str:
        value: str = proposal["value"]
        if value and urlsplit(value).scheme not in ("http", "https"):
            raise TraitError(
                "MlxNotebookApp.service_url is an http or https address, such as "
                f"'http://127.0.0.1:10101/services/mlx/', and not {value!r}."
            )
        return value

    admin_groups = List(
        Unicode(),
        help="""Groups of JupyterHub whose members may manage this server, as the Hub's admins may,
        for example ["teachers"]. Without JupyterHub everyone with the token may.""",
    ).tag(config=True)

    admin_reads_texts = Bool(
        False,
        help="""Let an admin read the traces of all users, with their texts (mlx/traces?user=NAME).
        Otherwise an admin sees counts and speeds only. mlx/usage and the panel Users tell everyone
        which of both it is.""",
    ).tag(config=True)

    opentelemetry = Bool(
        False,
        help="""Report each request to OpenTelemetry: spans and metrics of its GenAI conventions.
        OpenTelemetry's own environment variables say where to, for example
        OTEL_EXPORTER_OTLP_ENDPOINT. It needs mlx-notebook[opentelemetry].""",
    ).tag(config=True)

    @validate("opentelemetry")
    def _check_opentelemetry(self, proposal: dict[str, Any]) -> bool:
        value: bool = proposal["value"]
        if value and not _is_installed("opentelemetry.sdk"):
            raise TraitError(
                "MlxNotebookApp.opentelemetry needs OpenTelemetry's SDK, which is not installed: "
                "pip install 'mlx-notebook[opentelemetry]'."
            )
        return value

    opentelemetry_texts = Bool(
        False,
        help="""Put the texts of requests and answers, and the tools, into the spans for
        OpenTelemetry. Otherwise spans have counts, names and times only.""",
    ).tag(config=True)

    metrics_users = Integer(
        50,
        min=0,
        help="""Most users whose names are labels in mlx/metrics, the usage by user for Prometheus.
        All others are one label, "other". 0: no usage by user there.""",
    ).tag(config=True)

    def engine_config(self, data: Path, *, debug: bool) -> EngineConfig:
        """Return the engine's configuration. It stores its prefix cache below the folder `data`."""
        return EngineConfig(
            max_batch=self.max_batch,
            prefill_step=self.prefill_step,
            max_pause=self.max_pause_seconds,
            max_prompt_tokens=self.max_prompt_tokens or None,
            memory_budget=self.memory_budget_bytes or None,
            wired_limit=self.wired_limit,
            max_resident=self.max_resident,
            swap_patience=self.swap_patience_seconds,
            idle_unload_minutes=self.idle_unload_minutes,
            prefix_cache_entries=self.prefix_cache_entries,
            prefix_cache_bytes=self.prefix_cache_bytes or None,
            prefix_disk_path=str(data / "prefixes"),
            prefix_disk_bytes=self.prefix_disk_bytes,
            prefix_disk_hourly_bytes=self.prefix_disk_hourly_bytes,
            warm_up=self.warm_up,
            log_level="DEBUG" if debug else "INFO",
            distributed=self._distributed_config(),
        )

    def _distributed_config(self) -> DistributedConfig | None:
        if self.hostfile:
            from mlx_notebook.server.engine.hostfile import read_hostfile

            if self.ranks != 1:
                raise TraitError(
                    "Set MlxNotebookApp.ranks or MlxNotebookApp.hostfile, and not both: a hostfile "
                    "lists a machine once for each rank."
                )
            path = str(Path(self.hostfile).expanduser().absolute())
            hosts = read_hostfile(path).names
            return DistributedConfig(hosts=hosts, hostfile=path, backend=self.distributed_backend)
        if self.ranks == 1:
            return None
        return DistributedConfig(
            hosts=("127.0.0.1",) * self.ranks, backend=self.distributed_backend
        )

    @property
    def limits(self) -> SupervisorLimits:
        """Limits of the supervisor."""
        return SupervisorLimits(
            queue=self.queue_limit,
            heartbeat=self.engine_timeout_seconds,
            step=self.step_timeout_seconds,
            keep_alive=self.keep_alive_seconds,
        )

    @property
    def open_without_token(self) -> frozenset[str]:
        """APIs of other programs that programs on this machine may use without the token."""
        opened = {"ollama": self.ollama_without_token, "lmstudio": self.lmstudio_without_token}
        return frozenset(name for name, is_open in opened.items() if is_open)
