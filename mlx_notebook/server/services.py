"""Give handlers the parts of the server: the engine, the models, the limits of a request."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mlx_notebook import __version__
from mlx_notebook.protocol import Generate
from mlx_notebook.server.batches.batch_record import BatchProgress
from mlx_notebook.server.batches.batch_service import BatchService
from mlx_notebook.server.conversations.conversation_store import ConversationStore
from mlx_notebook.server.engine.engine_client import EngineClient
from mlx_notebook.server.engine.supervisor import Supervisor
from mlx_notebook.server.errors import InvalidRequest
from mlx_notebook.server.identity import OWNER
from mlx_notebook.server.jobs.job_queue import JobQueue
from mlx_notebook.server.mcp.mcp_session import McpSessions
from mlx_notebook.server.mcp.mcp_settings import McpSettings
from mlx_notebook.server.media.attachments import AttachmentLoader
from mlx_notebook.server.model_errors import model_is_upstream, model_not_found
from mlx_notebook.server.models.catalog import Catalog, is_repository
from mlx_notebook.server.models.downloads.download_jobs import DownloadJobs
from mlx_notebook.server.models.downloads.downloads import Download, Downloads
from mlx_notebook.server.models.settings.changeable_settings import ChangeableSettings
from mlx_notebook.server.models.settings.model_settings import ModelSettingsStore
from mlx_notebook.server.models.use.keep_times import KeepTimes
from mlx_notebook.server.models.use.notebook_usage import NotebookUsage
from mlx_notebook.server.responses.open_sockets import OpenSockets
from mlx_notebook.server.responses.response_runs import ResponseRuns
from mlx_notebook.server.upstreams.request_router import RequestRouter
from mlx_notebook.server.upstreams.upstream_request import UpstreamGenerate
from mlx_notebook.server.upstreams.upstreams import Upstreams
from mlx_notebook.server.users.rate_limiter import RateLimiter
from mlx_notebook.server.users.shared_prefixes import SharedPrefixes
from mlx_notebook.server.users.user import User


@dataclass(frozen=True)
class RequestLimits:
    """Limit one request.

    Attributes
    ----------
    max_body_bytes
        Largest body, in bytes.
    body_timeout_seconds
        Time in which the body must arrive.
    keep_alive_seconds
        Time without a token after which a stream gets a keep-alive comment.
    max_file_bytes
        Largest uploaded file, in bytes.
    max_messages
        Most messages of a conversation.
    max_prompt_tokens
        Longest prompt; 0 for the model's context length.
    max_batch
        Most sequences that one model decodes at a time.
    max_audio_bytes, max_audio_seconds
        Largest file of sound, in bytes, and the longest one.
    max_sockets, socket_seconds
        Most WebSockets of a user, and the time that one may be open.
    """

    max_body_bytes: int
    body_timeout_seconds: float
    keep_alive_seconds: float
    max_file_bytes: int
    max_messages: int
    max_prompt_tokens: int
    max_batch: int
    max_audio_bytes: int
    max_audio_seconds: float
    max_sockets: int
    socket_seconds: float

    def check_message_count(self, count: int) -> None:
        """Check the number of messages.

        Raises
        ------
        InvalidRequest
            If there are more than `max_messages`.
        """
        if count > self.max_messages:
            raise InvalidRequest(
                f"The request has {count:,} messages. This server accepts {self.max_messages:,} at "
                "most (MlxNotebookApp.max_messages).",
                param="messages",
                code="too_many_messages",
            )


@dataclass(frozen=True)
class Services:
    """Hold the parts of the server that handlers use.

    Attributes
    ----------
    supervisor, engine
        Owner of the engine process, and the client that sends requests to it.
    upstreams, requests
        Other servers, and what sends each request to the engine or to one of them.
    catalog, downloads, model_settings, presence
        Models that requests may name, their settings, and which of them open notebooks use.
    jobs, new_models
        Long jobs such as fine-tuning, and the folder for the models that they make.
    limits
        Limits on one request.
    auto_download
        Whether a model that is not on this machine is downloaded when a request names it.
    open_without_token
        APIs of other programs that programs on this machine may use without the token: `ollama`,
        `lmstudio`.
    memory_budget_bytes
        Memory for all models together; 0 for a share of the machine's memory.
    changeable
        Settings that an admin may change while the server runs.
    rates
        The limits of users, and what they have used of them.
    shared_prefixes
        What users share of the prefix cache.
    shared_between_users
        What all users share: `requests`, `settings`, `prefixes`.
    admin_groups
        Groups of JupyterHub whose members may manage the server.
    admin_reads_texts
        Whether an admin may read the traces of all users.
    mcp
        MCP servers that responses may use.
    make_images, make_responses, make_conversations, make_batches
        Create `images`, `responses`, `conversations` and `batches` when they are first used.
    """

    supervisor: Supervisor
    engine: EngineClient
    upstreams: Upstreams
    requests: RequestRouter
    catalog: Catalog
    downloads: Downloads
    model_settings: ModelSettingsStore
    notebook_usage: NotebookUsage
    jobs: JobQueue
    new_models: Path
    limits: RequestLimits
    auto_download: bool
    open_without_token: frozenset[str]
    memory_budget_bytes: int
    changeable: ChangeableSettings
    rates: RateLimiter
    shared_prefixes: SharedPrefixes
    shared_between_users: frozenset[str]
    admin_groups: frozenset[str]
    admin_reads_texts: bool
    mcp: McpSettings
    make_images: Callable[[], AttachmentLoader]
    make_responses: Callable[[], ResponseRuns]
    make_conversations: Callable[[], ConversationStore]
    make_batches: Callable[[], BatchService]

    @cached_property
    def mcp_sessions(self) -> McpSessions:
        """Connections to MCP servers."""
        return McpSessions(self.mcp.limits)

    @cached_property
    def response_sockets(self) -> OpenSockets:
        """WebSockets for responses."""
        return OpenSockets(self.limits.max_sockets)

    @cached_property
    def images(self) -> AttachmentLoader:
        """Loader of the images, documents and videos in requests."""
        return self.make_images()

    @cached_property
    def responses(self) -> ResponseRuns:
        """Responses that are stored, or run in the background."""
        return self.make_responses()

    @cached_property
    def conversations(self) -> ConversationStore:
        """Conversations of JupyterLab's sidebar."""
        return self.make_conversations()

    @property
    def running_batches(self) -> list[BatchProgress]:
        """The batches that run; none before files or batches are first used."""
        batches = vars(self).get("batches")
        return [] if batches is None else batches.running

    @cached_property
    def batches(self) -> BatchService:
        """Files and batches."""
        return self.make_batches()

    @cached_property
    def download_jobs(self) -> DownloadJobs:
        """Downloads that clients ask about by their ids, also after their end."""
        return DownloadJobs()

    @cached_property
    def keep_times(self) -> KeepTimes:
        """How long requests have asked to keep models in memory."""
        telemetry = self.supervisor.telemetry
        return KeepTimes(
            self.engine.keep, lambda: telemetry.resident, lambda: self.idle_unload_seconds
        )

    @property
    def idle_unload_seconds(self) -> float:
        """Time after which an unused model is unloaded; 0 for never."""
        return float(self.changeable.value("idle_unload_minutes")) * 60

    @property
    def completion_model(self) -> str:
        """Name of the model for inline completions; empty for the default model."""
        return str(self.changeable.value("completion_model"))

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the versions of the libraries and the device, which affect output."""
        ready = self.supervisor.ready
        parts = (__version__, ready.device, sorted(ready.versions.items())) if ready else ()
        return "fp_" + hashlib.sha256(repr(parts).encode()).hexdigest()[:10]

    def fingerprint_of(self, command: Generate) -> str:
        """Return the fingerprint for the answer to a request. That of an upstream is not known."""
        if isinstance(command, UpstreamGenerate):
            return f"upstream:{command.upstream}"
        return self.fingerprint

    def cache_salt(self, owner: str, user: User) -> str:
        """Return the salt that separates a user's caches from those of other users."""
        if owner == OWNER or "prefixes" in self.shared_between_users:
            return ""
        group = self.shared_prefixes.group(user)
        return owner if group is None else f"group:{group}"

    def download(self, model: str, revision: str | None = None, user: str = OWNER) -> Download:
        """Start to download a model from Hugging Face for a user, or return the running download.

        Raises
        ------
        NotFound
            If the name cannot be that of a model on Hugging Face.
        InvalidRequest
            If the model is in a configured folder or in the package.
        """
        name = self.catalog.canonical(model)
        if self.catalog.source_of(name) == "upstream":
            raise model_is_upstream(name, "There is nothing to download")
        if (source := self.catalog.source_of(name)) in ("embedded", "folder"):
            where = "in the package" if source == "embedded" else "in a configured folder"
            raise InvalidRequest(
                f"The model {name!r} is {where} already. There is nothing to download.",
                param="model",
                code="model_is_local",
            )
        if not is_repository(name):
            raise model_not_found(name, self.catalog.names)
        wanted = revision or self.model_settings.of(name).revision
        return self.downloads.start(name, wanted, user)
