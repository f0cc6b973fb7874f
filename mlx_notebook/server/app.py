"""The server extension: its settings, its routes, its start and its end."""

import asyncio
import hashlib
import os
import signal
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
from jupyter_server.auth.identity import IdentityProvider
from jupyter_server.extension.application import ExtensionApp
from jupyter_server.serverapp import ServerApp
from traitlets import (
    Bool,
    CaselessStrEnum,
    Dict,
    Float,
    Integer,
    List,
    TraitError,
    Unicode,
    default,
    validate,
)

from mlx_notebook import __version__
from mlx_notebook.messages import EngineConfig
from mlx_notebook.server import curated
from mlx_notebook.server.catalog import Catalog, is_repository
from mlx_notebook.server.downloads import Download, Downloads
from mlx_notebook.server.errors import InvalidRequest, model_not_found
from mlx_notebook.server.last_model import LastModel
from mlx_notebook.server.lazy_routes import LazyRoutes
from mlx_notebook.server.settings import Settings, checked
from mlx_notebook.server.supervisor import Limits, Supervisor
from mlx_notebook.server.wire.models import DownloadedModel

if TYPE_CHECKING:
    from mlx_notebook.server.pictures import Pictures
    from mlx_notebook.server.response_runs import Responses

_PORT = 1234
_STOP_SECONDS = 8.0
# The engine never talks to Jupyter: it shall not hold what opens the server.
_SECRETS = ("JUPYTER_TOKEN", "JUPYTERHUB_API_TOKEN", "JPY_API_TOKEN")


class StandaloneServer(ServerApp):
    """The Jupyter server below `jupyter mlx-notebook`: port 1234, no browser, no questions."""

    name = "mlx-notebook-server"

    port = Integer(_PORT, help="The port to listen on (env: JUPYTER_PORT).").tag(config=True)

    @default("port")
    def _port_default(self) -> int:
        return int(os.environ.get(self.port_env, _PORT))

    @default("answer_yes")
    def _answer_yes_default(self) -> bool:
        return True

    @default("no_browser_open_file")
    def _no_browser_open_file_default(self) -> bool:
        return True

    def init_httpserver(self) -> None:
        """Find a port, and remember which one was asked for."""
        self.asked_port = self.port
        super().init_httpserver()

    def init_signal(self) -> None:
        """Stop in order on Ctrl-C too, whether or not a terminal is there to ask."""
        super().init_signal()
        signal.signal(signal.SIGINT, self._signal_stop)


class MlxNotebookApp(ExtensionApp):
    """Local language models over MLX, behind OpenAI's API.

    Runs a model server by itself, on this machine only. Inside JupyterLab or Jupyter Server the
    same routes are there without starting anything.
    """

    name = "mlx_notebook"
    version = __version__
    description = (
        "Serve local language models over MLX behind OpenAI's API, on this machine only.\n\n"
        "Any OpenAI client can use it: the base URL is http://localhost:1234/v1 and the API key\n"
        "is the token, which is printed at the start unless you give one."
    )
    examples = "\n".join(
        (
            "jupyter mlx-notebook                              # port 1234, a fresh token",
            "jupyter mlx-notebook --port 8001 --token secret   # your own port and token",
            "jupyter mlx-notebook --models-dir ~/models --model my-org/my-model",
        )
    )
    serverapp_class = StandaloneServer
    classes = [StandaloneServer, IdentityProvider]  # noqa: RUF012
    load_other_extensions = False
    extension_url = "/"

    aliases = {  # noqa: RUF012
        "model": "MlxNotebookApp.default_model",
        "models-dir": "MlxNotebookApp.models_dirs",
        "idle-minutes": "MlxNotebookApp.idle_unload_minutes",
        "port": "StandaloneServer.port",
        "ip": "StandaloneServer.ip",
        "token": "IdentityProvider.token",
        "base-url": "StandaloneServer.base_url",
        "allow-origin": "StandaloneServer.allow_origin",
        "config": "JupyterApp.config_file",
        "log-level": "Application.log_level",
    }
    flags = {  # noqa: RUF012
        "debug": ({"Application": {"log_level": 10}}, "Log everything, for finding a problem."),
        "allow-root": ({"ServerApp": {"allow_root": True}}, "Allow running as root."),
    }

    # --- models ---------------------------------------------------------------------------------

    default_model = Unicode(
        "",
        help="""Name of the model for requests that name none. Without one: the model used last,
        and before any use the embedded tiny-chat.""",
    ).tag(config=True)

    models_dirs = List(
        Unicode(),
        help="""Folders that hold models in mlx-lm's layout, as <name>/ or <organisation>/<name>/.
        The Hugging Face cache is always looked at.""",
    ).tag(config=True)

    model_aliases = Dict(
        value_trait=Unicode(),
        key_trait=Unicode(),
        help="""Further names for models, as {"qwen": "mlx-community/Qwen3-4B-4bit"}.""",
    ).tag(config=True)

    unknown_model = CaselessStrEnum(
        ["error", "loaded"],
        default_value="error",
        help="""What to do with a model name that is not there: answer 404 ("error"), or use the
        model that was used last ("loaded"), for clients with a fixed name built in.""",
    ).tag(config=True)

    model_settings = Dict(
        value_trait=Dict(),
        key_trait=Unicode(),
        help="""Settings of single models, as {"qwen": {"temperature": 0.6, "thinking": False}}.
        Defaults of requests: temperature, top_p, top_k, min_p, repetition_penalty, max_tokens,
        system (a system message), thinking. How the model is loaded: context_limit (tokens),
        tool_dialect, adapter, adapters (that requests may name as model+adapter), draft (a model
        that drafts for it), prompt_lookup (how many tokens at most it guesses from what was said
        before), kv_bits (4 or 8), revision, trust_remote_code.""",
    ).tag(config=True)

    @validate("model_settings")
    def _check_model_settings(self, proposal: Any) -> Any:
        for name, settings in proposal["value"].items():
            try:
                checked(settings)
            except ValueError as error:
                raise TraitError(f"MlxNotebookApp.model_settings[{name!r}]: {error}.") from None
        return proposal["value"]

    trusted_models = List(
        Unicode(),
        help="""Names of models whose own Python code (model_file or auto_map in config.json) may
        run. All other models that bring code are refused.""",
    ).tag(config=True)

    auto_download = Bool(
        False,
        help="""Download a model from Hugging Face when a request names one that is not here.
        Otherwise models are only downloaded when someone asks for it (%mlx pull, %mlx load).""",
    ).tag(config=True)

    memory_budget_bytes = Integer(
        0,
        min=0,
        help="""What all models together may take of the memory, in bytes; the one unused for
        longest makes room for the next. 0: 85 % of what Metal recommends on a Mac, 60 % of the
        memory that this process may use on a CPU.""",
    ).tag(config=True)

    max_resident = Integer(
        0, min=0, help="How many models may be in memory at most; 0 sets no limit but the memory."
    ).tag(config=True)

    swap_patience_seconds = Float(
        5.0,
        min=0.0,
        help="""How long a model that waits for memory lets requests go first that came later, for
        models that must make room for it.""",
    ).tag(config=True)

    idle_unload_minutes = Float(
        3.0,
        min=0.0,
        help="Unload a model after so many minutes without a request; 0 keeps it for ever.",
    ).tag(config=True)

    warm_up = Bool(
        True,
        help="""Run a model once as part of loading it where it is loaded ahead (%mlx load), so that
        the first request is fast.""",
    ).tag(config=True)

    # --- requests -------------------------------------------------------------------------------

    max_batch = Integer(
        32, min=1, help="How many sequences are decoded together; more of them wait."
    ).tag(config=True)

    queue_limit = Integer(
        64,
        min=0,
        help="How many sequences may wait beyond max_batch; a request over that is told 429.",
    ).tag(config=True)

    prefill_step = Integer(
        512,
        min=16,
        help="""Most tokens of a prompt computed at a time. Smaller steps hold up running streams
        less while a long prompt comes in, larger ones take it in faster.""",
    ).tag(config=True)

    max_prompt_tokens = Integer(
        0, min=0, help="Longest prompt in tokens; 0 leaves it to the model's context length."
    ).tag(config=True)

    max_body_bytes = Integer(
        32 * 1024 * 1024, min=1024, help="Largest request body in bytes; larger ones are told 413."
    ).tag(config=True)

    max_messages = Integer(
        4096, min=1, help="Most messages in one request; more of them are told 400."
    ).tag(config=True)

    # --- pictures -------------------------------------------------------------------------------

    max_image_bytes = Integer(
        20 * 1024 * 1024, min=1024, help="Largest picture in bytes; a larger one is told 400."
    ).tag(config=True)

    max_image_pixels = Integer(
        50_000_000,
        min=1024,
        max=64 * 2**20,
        help="""Most pixels of a picture, told from its head: a small file may hold a picture that
        fills the memory. At most 67,108,864, which is where the engine ends.""",
    ).tag(config=True)

    max_images = Integer(
        64,
        min=0,
        help="""Most pictures in one request, its whole conversation counted. Together they have at
        most max_body_bytes.""",
    ).tag(config=True)

    allow_image_urls = List(
        Unicode(),
        help="""Hosts that pictures may be fetched from where a request shows them by URL, as
        "upload.wikimedia.org" or "pictures.example:8080" (without a port, only the standard ones).
        A host on a private network or on this machine is refused, unless its address is listed
        too. Empty: pictures come inside the requests only.""",
    ).tag(config=True)

    image_root = Unicode(
        "",
        help="""Folder whose pictures requests may show by file: URLs, with the folders in it.
        Empty: none.""",
    ).tag(config=True)

    # --- answers --------------------------------------------------------------------------------

    keep_alive_seconds = Float(
        10.0,
        min=0.1,
        help="""Send a comment to a streaming client that has waited so long for the next token,
        so that nothing between takes the connection for dead.""",
    ).tag(config=True)

    responses_max_age_days = Float(
        30.0,
        min=0.0,
        help="Days since its last use until a stored response (v1/responses) is forgotten.",
    ).tag(config=True)

    responses_max_bytes = Integer(
        256 * 1024 * 1024,
        min=0,
        help="""What stored responses may take on disk, in bytes; those unused for longest go
        first. 0 stores none.""",
    ).tag(config=True)

    traces_limit = Integer(
        100,
        min=0,
        help="""How many of a user's last requests mlx/traces shows, with everything that was said;
        in memory only. 0 keeps none.""",
    ).tag(config=True)

    # --- the engine -----------------------------------------------------------------------------

    start_engine_at_startup = Bool(
        help="""Start the engine process together with the server rather than with the first
        request. Default: only where the server runs by itself (jupyter mlx-notebook)."""
    ).tag(config=True)

    engine_env = Dict(
        value_trait=Unicode(),
        key_trait=Unicode(),
        help="Environment variables for the engine process, above the server's own.",
    ).tag(config=True)

    engine_timeout_seconds = Float(
        30.0,
        min=1.0,
        help="Kill and restart an engine that gave no sign of life for so long.",
    ).tag(config=True)

    prefix_cache_bytes = Integer(
        0, min=0, help="Memory for kept prompts (KV caches) in bytes; 0 lets the engine choose."
    ).tag(config=True)

    prefix_cache_entries = Integer(64, min=0, help="Most prompts kept for reuse.").tag(config=True)

    prefix_disk_bytes = Integer(
        4 * 1024**3,
        min=0,
        help="""What long prompts may take on disk, in bytes, so that they need not be computed
        again after a model was unloaded or the engine restarted. They lie in Jupyter's data
        directory, readable by you only; those unused for longest go first. 0 keeps none.""",
    ).tag(config=True)

    @default("start_engine_at_startup")
    def _start_engine_at_startup_default(self) -> bool:
        return self._runs_alone

    @validate("allow_image_urls")
    def _check_image_hosts(self, proposal: dict[str, Any]) -> list[str]:
        hosts: list[str] = proposal["value"]
        for host in hosts:
            if not host or "/" in host or "*" in host:
                raise TraitError(
                    f"allow_image_urls lists hosts, as 'upload.wikimedia.org', and not {host!r}."
                )
        return hosts

    @default("open_browser")
    def _default_open_browser(self) -> bool:
        return False

    # --- life -----------------------------------------------------------------------------------

    _supervisor: Supervisor
    catalog: Catalog
    downloads: Downloads
    model_options: Settings
    _task: asyncio.Task[None] | None = None
    _announces = False

    @classmethod
    def launch_instance(cls, argv: list[str] | None = None, **kwargs: Any) -> None:
        """Run `jupyter mlx-notebook`."""
        cls._announces = True
        super().launch_instance(argv, **kwargs)  # type: ignore[no-untyped-call]

    @property
    def _runs_alone(self) -> bool:
        return isinstance(self.serverapp, StandaloneServer)

    def initialize_settings(self) -> None:
        """Make the catalog, the supervisor and the downloads; nothing starts yet."""
        assert self.serverapp is not None
        env = {name: value for name, value in os.environ.items() if name not in _SECRETS}
        data = Path(self.serverapp.data_dir) / "mlx_notebook"
        last_model = LastModel(data / "last_model", self.log)
        self._supervisor = Supervisor(
            EngineConfig(
                max_batch=self.max_batch,
                prefill_step=self.prefill_step,
                max_prompt_tokens=self.max_prompt_tokens or None,
                memory_budget=self.memory_budget_bytes or None,
                max_resident=self.max_resident,
                swap_patience=self.swap_patience_seconds,
                idle_unload_minutes=self.idle_unload_minutes,
                prefix_cache_entries=self.prefix_cache_entries,
                prefix_cache_bytes=self.prefix_cache_bytes or None,
                prefix_disk_path=str(Path(self.serverapp.data_dir) / "mlx_notebook" / "prefixes"),
                prefix_disk_bytes=self.prefix_disk_bytes,
                warm_up=self.warm_up,
                log_level="DEBUG" if self.log_level in (10, "DEBUG") else "INFO",
            ),
            Limits(
                queue=self.queue_limit,
                heartbeat=self.engine_timeout_seconds,
                keep_alive=self.keep_alive_seconds,
            ),
            env={**env, **self.engine_env},
            log=self.log,
            used=lambda model: last_model.note(model) if self.catalog.writes(model) else None,
        )
        aliases = {**curated.aliases(), **self.model_aliases}
        self.model_options = Settings(
            {
                aliases.get(name, name): checked(settings)
                for name, settings in self.model_settings.items()
            },
            data / "model_settings.json",
            self.log,
        )
        self.catalog = Catalog(
            folders=self.models_dirs,
            aliases=self.model_aliases,
            default=self.default_model,
            trusted=self.trusted_models,
            unknown=self.unknown_model,
            settings=self.model_options,
            last_used=lambda: last_model.name,
            log=self.log,
        )
        self.downloads = Downloads(
            env=env,
            changed=self._supervisor.notify,
            ended=self.catalog.outdate,
            arrived=self._arrived,
            log=self.log,
        )
        self._supervisor.traces.limit = self.traces_limit

    def initialize_handlers(self) -> None:
        """Mount the routes below the server's base URL."""
        assert self.serverapp is not None
        application = self.serverapp.web_app
        rule = LazyRoutes.rule(application, self.serverapp.base_url)
        application.add_handlers(".*$", [rule])  # type: ignore[no-untyped-call]

    async def _start_jupyter_server_extension(self, serverapp: ServerApp) -> None:
        supervisor = self.supervisor
        if self.start_engine_at_startup:
            supervisor.want()
        if self._announces:
            self._announce()

    async def stop_extension(self) -> None:
        """Stop running work, downloads and the engine; takes a bounded time."""
        await self.downloads.close()
        if self._task is None:
            return
        self._supervisor.stop()
        if "responses" in self.__dict__:
            await self.responses.close()
        with anyio.move_on_after(_STOP_SECONDS):
            await asyncio.wait([self._task])

    def current_activity(self) -> int:
        """Return the number of requests and downloads, so that no idle culler stops the server."""
        return len(self._supervisor.streams) + len(self.downloads.current)

    # --- for the handlers -----------------------------------------------------------------------

    @property
    def supervisor(self) -> Supervisor:
        """The engine's supervisor, at work from the first look on (needs the running loop).

        Not from the start hook alone: requests come before it, and servers that other programs
        embed never call it.
        """
        if self._task is None:
            self._task = asyncio.create_task(self._supervisor.run())
        return self._supervisor

    @cached_property
    def responses(self) -> "Responses":
        """What `v1/responses` keeps and runs."""
        from mlx_notebook.server.response_runs import Responses
        from mlx_notebook.server.response_store import ResponseStore

        assert self.serverapp is not None
        store = ResponseStore(
            Path(self.serverapp.data_dir) / "mlx_notebook" / "responses.sqlite3",
            max_age=self.responses_max_age_days * 24 * 3600,
            max_bytes=self.responses_max_bytes,
            log=self.log,
        )
        return Responses(store, self.supervisor, self.log)

    @cached_property
    def pictures(self) -> "Pictures":
        """Takes in the pictures of requests."""
        from mlx_notebook.server.fetching import Fetcher
        from mlx_notebook.server.pictures import PictureLimits, Pictures

        limits = PictureLimits(
            bytes=self.max_image_bytes,
            pixels=self.max_image_pixels,
            count=self.max_images,
            total=self.max_body_bytes,
        )
        root = Path(self.image_root).expanduser() if self.image_root else None
        return Pictures(limits, Fetcher(self.allow_image_urls), root)

    @property
    def fingerprint(self) -> str:
        """What answers depend on beside the request: versions of the libraries, and the device."""
        ready = self._supervisor.ready
        told = (__version__, ready.device, sorted(ready.versions.items())) if ready else ()
        return "fp_" + hashlib.sha256(repr(told).encode()).hexdigest()[:10]

    def download(self, model: str, revision: str | None = None) -> Download:
        """Begin to download a model from Hugging Face, or join the download under way.

        Raises:
            NotFound: The name cannot be that of a model there.
            InvalidRequest: The model lies in a configured folder.
        """
        name = self.catalog.canonical(model)
        if (place := self.catalog.place_of(name)) in ("embedded", "folder"):
            where = "in the package" if place == "embedded" else "in a configured folder"
            raise InvalidRequest(
                f"The model {name!r} lies {where}: there is nothing to download.",
                param="model",
                code="model_is_local",
            )
        if not is_repository(name):
            raise model_not_found(name, self.catalog.names)
        return self.downloads.start(name, revision or self.model_options.of(name).revision)

    async def _arrived(self, download: Download, answer: DownloadedModel) -> None:
        """Have the model that has come be the one of that name, at the revision asked for."""
        settings = self.model_options
        if download.revision not in (None, settings.of(answer.model).revision):
            pinned = msgspec.structs.replace(settings.saved(answer.model), revision=answer.revision)
            await settings.save(answer.model, pinned)
        await self.catalog.refresh()

    def check_message_count(self, count: int) -> None:
        """Refuse a request with too many messages.

        Raises:
            InvalidRequest: There are more than `max_messages`.
        """
        if count > self.max_messages:
            raise InvalidRequest(
                f"The request has {count:,} messages; this server takes {self.max_messages:,} at "
                "most (MlxNotebookApp.max_messages).",
                param="messages",
                code="too_many_messages",
            )

    # --- words at the start ---------------------------------------------------------------------

    def _announce(self) -> None:
        """Print how to use the server, ready to paste."""
        server = self.serverapp
        assert server is not None
        asked = getattr(server, "asked_port", 0)
        if asked not in (0, server.port):
            print(
                f"\nPort {asked} is in use by another program: this server took {server.port}. "
                "Stop the other one, or choose a port with --port.",
                flush=True,
            )
        provider = server.identity_provider
        url = server.connection_url
        if not provider.token:
            self.log.warning("The server has no token: OpenAI clients will be refused.")
            return
        # A token that was given may be worth more than this server: it is not shown.
        key = provider.token if provider.token_generated else "<the token that you gave>"
        model = self.catalog.default_now
        print(
            f"""
mlx-notebook serves local models at {url}v1
API key: {key}

    from openai import OpenAI

    client = OpenAI(base_url="{url}v1", api_key="{key}")
    answer = client.chat.completions.create(
        model="{model}", messages=[{{"role": "user", "content": "Hello!"}}]
    )
    print(answer.choices[0].message.content)

    curl {url}v1/chat/completions -H "Authorization: Bearer {key}" \\
      -d '{{"messages": [{{"role": "user", "content": "Hello!"}}]}}'

Control-C stops it.
""",
            flush=True,
        )


main = MlxNotebookApp.launch_instance
