"""Define the Jupyter server extension: create its parts, start and stop them."""

import asyncio
import os
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
from jupyter_server.auth.identity import IdentityProvider
from jupyter_server.extension.application import ExtensionApp
from jupyter_server.serverapp import ServerApp
from traitlets import default

from mlx_notebook import __version__
from mlx_notebook.protocol import Configure
from mlx_notebook.server.api.routing.lazy_routes import LazyRoutes
from mlx_notebook.server.command_line import ALIASES, DESCRIPTION, EXAMPLES, FLAGS
from mlx_notebook.server.configuration import Configuration
from mlx_notebook.server.engine.engine_client import EngineClient
from mlx_notebook.server.engine.in_flight_requests import InFlightRequests
from mlx_notebook.server.engine.supervisor import Supervisor
from mlx_notebook.server.identity import OWNER, has_one_token
from mlx_notebook.server.jobs.job_queue import JobQueue
from mlx_notebook.server.lazy_parts import (
    make_batches,
    make_conversations,
    make_images,
    make_request_limits,
    make_responses,
)
from mlx_notebook.server.listening import limit_accepted_connections
from mlx_notebook.server.models import suggestions
from mlx_notebook.server.models.catalog import Catalog
from mlx_notebook.server.models.downloads.downloads import Download, Downloads
from mlx_notebook.server.models.settings.changeable_settings import (
    NAMES,
    ChangeableSettings,
    fixed_settings,
)
from mlx_notebook.server.models.settings.model_settings import ModelSettingsStore, check_settings
from mlx_notebook.server.models.upstream_entries import UpstreamEntries
from mlx_notebook.server.models.use.last_model import LastModel
from mlx_notebook.server.models.use.notebook_usage import NotebookUsage
from mlx_notebook.server.relay.relay_rule import relay_rule
from mlx_notebook.server.relay.service_client import ServiceClient
from mlx_notebook.server.standalone import StandaloneServer
from mlx_notebook.server.upstreams.request_router import RequestRouter
from mlx_notebook.server.upstreams.upstream_keys import take_keys
from mlx_notebook.server.upstreams.upstream_settings import check_upstreams
from mlx_notebook.server.upstreams.upstreams import Upstreams
from mlx_notebook.server.users.user_limits import UserLimits
from mlx_notebook.server.wire.native.model_types import DownloadedModel

if TYPE_CHECKING:
    from mlx_notebook.server.services import Services
    from mlx_notebook.server.telemetry.open_telemetry import RequestReporter

_STOP_SECONDS = 8.0
# Keep these from the engine, which never talks to Jupyter.
_SECRETS = ("JUPYTER_TOKEN", "JUPYTERHUB_API_TOKEN", "JPY_API_TOKEN")


class MlxNotebookApp(Configuration, ExtensionApp):
    """Serve local models on MLX with OpenAI's API.

    It runs a model server on this machine. JupyterLab and Jupyter Server offer the same routes by
    themselves.
    """

    name = "mlx_notebook"
    version = __version__
    description = DESCRIPTION
    examples = EXAMPLES
    aliases = ALIASES
    flags = FLAGS
    serverapp_class = StandaloneServer
    classes = [StandaloneServer, IdentityProvider]  # noqa: RUF012
    load_other_extensions = False
    extension_url = "/"

    @default("start_engine_at_startup")
    def _start_engine_at_startup_default(self) -> bool:
        return self._runs_alone

    @default("open_browser")
    def _default_open_browser(self) -> bool:
        return False

    # --- start and stop ---------------------------------------------------------------------------

    _supervisor: Supervisor
    _engine: EngineClient
    _upstreams: Upstreams
    _requests: RequestRouter
    catalog: Catalog
    downloads: Downloads
    _model_settings: ModelSettingsStore
    _jobs: JobQueue
    _new_models: Path
    _changeable: ChangeableSettings
    _task: asyncio.Task[None] | None = None
    _announces = False
    _reporter: "RequestReporter | None" = None

    @classmethod
    def launch_instance(cls, argv: list[str] | None = None, **kwargs: Any) -> None:
        """Run `jupyter mlx-notebook`."""
        cls._announces = True
        super().launch_instance(argv, **kwargs)  # type: ignore[no-untyped-call]

    @classmethod
    def class_own_traits(cls, **metadata: Any) -> dict[str, Any]:
        """Return all settings as the app's own: generated configuration lists only those."""
        return {
            **Configuration.class_traits(**metadata),
            **super().class_own_traits(**metadata),
        }

    @property
    def _runs_alone(self) -> bool:
        return isinstance(self.serverapp, StandaloneServer)

    def initialize_settings(self) -> None:
        """Create the catalog, the supervisor and the downloads, without starting them."""
        assert self.serverapp is not None
        upstreams = check_upstreams(self.upstreams)
        # First of all: what is started later must not inherit the keys.
        keys = take_keys(upstreams, os.environ, self.log)
        env = {name: value for name, value in os.environ.items() if name not in _SECRETS}
        data = self._data
        engine_env = {**env, **self.engine_env}
        self._new_models = Path(self.new_models_dir or data / "models").expanduser().absolute()
        # The changes of earlier runs come before all parts that use the settings.
        fixed = fixed_settings(self.config.get("MlxNotebookApp", {}), alone=self._runs_alone)
        self._changeable = ChangeableSettings(self, fixed, data / "server_settings.json", self.log)
        self._changeable.restore()
        last_model = LastModel(data / "last_model", self.log)
        self._supervisor = Supervisor(
            self.engine_config(data, debug=self.log_level in (10, "DEBUG")),
            self.limits,
            InFlightRequests(partial(self._model_used, last_model)),
            env=engine_env,
            log=self.log,
        )
        self._engine = EngineClient(self._supervisor)
        self._upstreams = Upstreams(
            upstreams,
            keys,
            traces=self._engine.traces,
            keep_alive_seconds=self.keep_alive_seconds,
            changed=self._supervisor.notify,
            log=self.log,
        )
        self._requests = RequestRouter(self._engine, self._upstreams)
        aliases = {**suggestions.aliases(), **self.model_aliases}
        self._model_settings = ModelSettingsStore(
            {
                aliases.get(name, name): check_settings(settings)
                for name, settings in self.model_settings.items()
            },
            data / "model_settings.json",
            self.log,
        )
        self.catalog = Catalog(
            folders=[*self.models_dirs, str(self._new_models)],
            programs=self.use_models_of,
            aliases=self.model_aliases,
            default=self.default_model,
            trusted=self.trusted_models,
            unknown=self.unknown_model,
            settings=self._model_settings,
            last_used=last_model.name,
            upstreams=UpstreamEntries(self._upstreams, self._model_settings),
            log=self.log,
        )
        self.downloads = Downloads(
            env=env,
            changed=self._supervisor.notify,
            ended=self.catalog.mark_outdated,
            arrived=self._download_arrived,
            log=self.log,
        )
        self._jobs = JobQueue(
            self._engine, env=engine_env, changed=self._supervisor.notify, log=self.log
        )
        self.observe(self._settings_changed, list(NAMES))
        self._engine.traces.limit = self.traces_limit
        self._engine.usage.named = self.metrics_users
        if self.opentelemetry:
            self._report_requests()

    def _report_requests(self) -> None:
        """Report requests to OpenTelemetry, from the first one on."""
        from mlx_notebook.server.telemetry.open_telemetry import start_reporting

        server = self.serverapp
        assert server is not None
        self._reporter = start_reporting(
            lambda: (server.ip, server.port), texts=self.opentelemetry_texts
        )
        self._engine.traces.reporter = self._reporter

    def _settings_changed(self, change: Any) -> None:
        """Apply a setting that has changed while the server runs."""
        self.catalog.configured_default = self.default_model
        if change["name"] == "models_dirs":
            self.catalog.folders = [*self.models_dirs, str(self._new_models)]
        if change["name"] == "idle_unload_minutes":
            changed = {"idle_unload_minutes": self.idle_unload_minutes}
            self._supervisor.config = msgspec.structs.replace(self._supervisor.config, **changed)
            self._supervisor.send(Configure(**changed))

    def initialize_handlers(self) -> None:
        """Mount the routes below the base URL of the server."""
        assert self.serverapp is not None
        application, base_url = self.serverapp.web_app, self.serverapp.base_url
        rules: list[Any] = []
        if self.relay is not None:
            rules.append(relay_rule(application, base_url))
        elif not self._runs_alone:
            rules.append(LazyRoutes.rule(application, base_url))
        if isinstance(self.serverapp, StandaloneServer):
            rules.append(LazyRoutes.standalone_rule(application, base_url))
            from mlx_notebook.server.api.routing.closed_routes import (
                service_rules,
                standalone_rules,
            )

            if self.serverapp.hub_service is None:
                rules += standalone_rules(base_url)
            else:
                rules += service_rules(base_url, self.serverapp.identity_provider)
        application.add_handlers(".*$", rules)  # type: ignore[no-untyped-call]

    async def _start_jupyter_server_extension(self, serverapp: ServerApp) -> None:
        limit_accepted_connections(serverapp.http_server, self.log)
        if self.relay is not None:
            self.log.info("Models run in the service %s.", self.relay.url)
            return
        self._supervise()
        if not has_one_token(serverapp.identity_provider):
            for name in sorted(self.open_without_token):
                self.log.error(
                    "MlxNotebookApp.%s_without_token has no effect: this server has no token, or "
                    "JupyterHub knows its users.",
                    name,
                )
        if (self._data / "batches.sqlite3").exists() and self.files_max_bytes:
            self.services.batches.resume()
        if self.start_engine_at_startup:
            self._supervisor.request_start()
        if self._announces:
            assert isinstance(serverapp, StandaloneServer)
            model = await self.catalog.default()
            is_here = model in self.catalog.names or self.catalog.source_of(model) == "upstream"
            serverapp.announce(model, is_here=is_here)

    async def stop_extension(self) -> None:
        """Stop all requests, downloads and the engine within a few seconds."""
        await self.downloads.close()
        await self._jobs.close()
        if self.relay is not None:
            await self.relay.close()
        if self._task is None:
            return
        self._supervisor.stop()
        if "services" in self.__dict__ and "response_sockets" in self.services.__dict__:
            self.services.response_sockets.close()
        if "services" in self.__dict__ and "responses" in self.services.__dict__:
            await self.services.responses.close()
        if "services" in self.__dict__ and "batches" in self.services.__dict__:
            await self.services.batches.close()
        if "services" in self.__dict__ and "mcp_sessions" in self.services.__dict__:
            await self.services.mcp_sessions.close()
        await self._upstreams.close()
        with anyio.move_on_after(_STOP_SECONDS):
            await asyncio.wait([self._task])
        if self._reporter is not None:
            await asyncio.to_thread(self._reporter.close)

    def current_activity(self) -> int:
        """Return the number of requests, downloads and jobs: no idle culler stops a busy server."""
        own = len(self._supervisor.in_flight.streams) + len(self.downloads.current)
        own += self._upstreams.running + len(self._jobs.active)
        if "services" in self.__dict__ and "batches" in self.services.__dict__:
            own += len(self.services.batches.running)
        return own + (self.relay.running if self.relay is not None else 0)

    @cached_property
    def relay(self) -> ServiceClient | None:
        """The client of JupyterHub's service, if that answers in place of an engine here."""
        if self._runs_alone or not self.service_url:
            return None
        token = os.environ.get("JUPYTERHUB_API_TOKEN", "")
        if not token:
            self.log.error(
                "MlxNotebookApp.service_url is set, but JUPYTERHUB_API_TOKEN is not. The service "
                "will refuse all requests: only servers that JupyterHub starts can use it."
            )
        return ServiceClient(self.service_url.rstrip("/") + "/", token)

    # --- services ---------------------------------------------------------------------------------

    @cached_property
    def services(self) -> "Services":
        """The parts of the server that handlers use.

        The first request creates them and starts the supervision of the engine, which needs a
        running event loop. The start hook is too late: requests may come before it, and a server
        that is embedded in another program never calls it.
        """
        from mlx_notebook.server.services import Services
        from mlx_notebook.server.users.rate_limiter import RateLimiter
        from mlx_notebook.server.users.shared_prefixes import SharedPrefixes

        assert self.serverapp is not None
        if self.relay is None:
            self._supervise()
        return Services(
            supervisor=self._supervisor,
            engine=self._engine,
            upstreams=self._upstreams,
            requests=self._requests,
            catalog=self.catalog,
            downloads=self.downloads,
            model_settings=self._model_settings,
            notebook_usage=NotebookUsage(self.notebook_keep_minutes * 60),
            jobs=self._jobs,
            new_models=self._new_models,
            limits=make_request_limits(self),
            auto_download=self.auto_download,
            open_without_token=self.open_without_token,
            memory_budget_bytes=self.memory_budget_bytes,
            changeable=self._changeable,
            rates=RateLimiter(UserLimits(self.user_limits)),
            shared_prefixes=SharedPrefixes(self.shared_prefixes),
            shared_between_users=frozenset(self.shared_between_users),
            admin_groups=frozenset(self.admin_groups),
            admin_reads_texts=self.admin_reads_texts,
            mcp=self.mcp_settings,
            make_images=partial(make_images, self),
            make_responses=partial(make_responses, self, self._data, self.log, self._requests),
            make_conversations=partial(make_conversations, self, self._data, self.log),
            make_batches=partial(
                make_batches,
                self,
                self._data,
                self.log,
                self.serverapp,
                self._supervisor.notify,
            ),
        )

    def _model_used(self, last_model: LastModel, user: str, model: str) -> None:
        if self.catalog.generates_text(model):
            last_model.note(model, OWNER if "settings" in self.shared_between_users else user)

    def _supervise(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._supervisor.run())
            self._task.add_done_callback(self._supervision_ended)

    def _supervision_ended(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.log.error("The supervision of the engine failed.", exc_info=error)

    @property
    def _data(self) -> Path:
        """The folder for what the server keeps, in Jupyter's data directory."""
        assert self.serverapp is not None
        return Path(self.serverapp.data_dir) / "mlx_notebook"

    async def _download_arrived(self, download: Download, answer: DownloadedModel) -> None:
        """Pin a downloaded model to the revision that was asked for, and scan the catalog."""
        settings = self._model_settings
        if download.revision not in (None, settings.of(answer.model).revision):
            pinned = msgspec.structs.replace(settings.saved(answer.model), revision=answer.revision)
            await settings.save(answer.model, pinned)
        await self.catalog.refresh()


main = MlxNotebookApp.launch_instance
