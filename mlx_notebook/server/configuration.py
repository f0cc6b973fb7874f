"""Define the settings: traits for Jupyter's configuration and the command line."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

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

from mlx_notebook.protocol import DistributedConfig, EngineConfig
from mlx_notebook.server.batches.batch_configuration import BatchConfiguration
from mlx_notebook.server.engine.supervisor import SupervisorLimits
from mlx_notebook.server.mcp.mcp_configuration import McpConfiguration
from mlx_notebook.server.models.model_settings import check_settings
from mlx_notebook.server.models.other_programs import PROGRAMS
from mlx_notebook.server.upstreams.upstream_settings import check_upstreams
from mlx_notebook.server.users.user_configuration import UserConfiguration


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # its package is missing
        return False


class Configuration(UserConfiguration, BatchConfiguration, McpConfiguration):
    """Hold the traits of the extension app, and derive the engine's configuration from them.

    This is no `Configurable`, so that the settings are named `MlxNotebookApp.<name>`.
    """

    # --- models -----------------------------------------------------------------------------------

    default_model = Unicode(
        "",
        help="""Model for requests that name none. If empty: the model that was used last, and
        before the first use the embedded tiny-chat.""",
    ).tag(config=True)

    completion_model = Unicode(
        "",
        help="""Model for inline completions in JupyterLab. If empty: the default model, if it has
        marks for fill-in-the-middle, or is a chat model with at least a billion parameters.
        Otherwise inline completions are off.""",
    ).tag(config=True)

    models_dirs = List(
        Unicode(),
        help="""Folders that contain models in mlx-lm's format, as <name>/ or
        <organisation>/<name>/, and GGUF files, in such folders or by themselves. Links out of such
        a folder are followed if its owner or the user of this server made them. The Hugging Face
        cache is always searched too.""",
    ).tag(config=True)

    use_models_of = List(
        CaselessStrEnum(PROGRAMS),
        default_value=list(PROGRAMS),
        help="""Other programs whose downloaded models are listed too, from where they keep them:
        "lmstudio", "ollama", "llama.cpp". Their files are only read. [] lists none of them.""",
    ).tag(config=True)

    new_models_dir = Unicode(
        "",
        help="""Folder for the adapters and models that are made here, by fine-tuning for example.
        Its models are found like those in models_dirs. If empty: the folder mlx_notebook/models in
        Jupyter's data folder.""",
    ).tag(config=True)

    model_aliases = Dict(
        value_trait=Unicode(),
        key_trait=Unicode(),
        help="""Other names for models, for example {"qwen": "mlx-community/Qwen3-4B-4bit"}.""",
    ).tag(config=True)

    unknown_model = CaselessStrEnum(
        ["error", "loaded"],
        default_value="error",
        help="""What to do if a request names a model that is not on this machine: answer with a 404
        ("error"), or use the model that was used last ("loaded"), for clients with a fixed model
        name.""",
    ).tag(config=True)

    model_settings = Dict(
        value_trait=Dict(),
        key_trait=Unicode(),
        help="""Settings of single models, for example {"qwen": {"temperature": 0.6, "thinking":
        False}}. Defaults of requests: temperature, top_p, top_k, min_p, repetition_penalty,
        max_tokens, system (a system message), thinking (whether the model reasons),
        fill_in_the_middle (false: gaps are filled through the chat template). How the model
        is loaded: context_limit (tokens), tool_dialect, adapter, adapters (that requests may choose
        as model+adapter), draft (a smaller model for speculative decoding), prompt_lookup
        (speculative decoding without a draft model: the most tokens to guess from the text so far),
        kv_bits (4 or 8), division among ranks (tensor or pipeline), reranker (rank documents by the
        prompt of Qwen3-Reranker), revision, trust_remote_code.""",
    ).tag(config=True)

    @validate("model_settings")
    def _check_model_settings(self, proposal: Any) -> Any:
        for name, settings in proposal["value"].items():
            try:
                check_settings(settings)
            except ValueError as error:
                raise TraitError(f"MlxNotebookApp.model_settings[{name!r}]: {error}.") from None
        return proposal["value"]

    trusted_models = List(
        Unicode(),
        help="""Models whose own Python code (model_file or auto_map in config.json) may run. Other
        models with code of their own are refused.""",
    ).tag(config=True)

    auto_download = Bool(
        False,
        help="""Download a model from Hugging Face if a request names one that is not on this
        machine. Otherwise models are downloaded only on demand (%mlx pull, %mlx load).""",
    ).tag(config=True)

    memory_budget_bytes = Integer(
        0,
        min=0,
        help="""Memory for all models together, in bytes. If another model needs memory, the least
        recently used one is unloaded. With several ranks it is the memory of all together. 0: on a
        Mac 85 % of what Metal recommends, on a CPU 60 % of the memory that a process may use.""",
    ).tag(config=True)

    wired_limit = Unicode(
        "off",
        help="""How many bytes of memory macOS keeps wired for the engine, so that it neither
        compresses nor pages them out: "off" (none), "auto" (the models' weights, while they take
        more than half of what Metal recommends), or a number. Wired memory made macOS panic under
        load: see the page Memory on a Mac. No effect without Metal.""",
    ).tag(config=True)

    max_resident = Integer(
        0, min=0, help="Most models in memory at a time. 0: only memory_budget_bytes limits them."
    ).tag(config=True)

    swap_patience_seconds = Float(
        5.0,
        min=0.0,
        help="""How many seconds a request that waits for memory lets later requests go first. After
        that, later requests for the models that it will replace wait too.""",
    ).tag(config=True)

    idle_unload_minutes = Float(
        15.0,
        min=0.0,
        help="""Unload a model after this many minutes without a request. An open notebook or panel
        that has used it recently keeps it in memory (notebook_keep_minutes). 0: never.""",
    ).tag(config=True)

    notebook_keep_minutes = Float(
        60.0,
        min=0.0,
        help="""Keep a model in memory for this many minutes after a notebook or a panel has used
        it, while that notebook's kernel runs. idle_unload_minutes begin after that. The model may
        still be unloaded if another one needs the memory. 0: open notebooks do not count.""",
    ).tag(config=True)

    warm_up = Bool(
        True,
        help="""Run a model once after %mlx load, so that its first request is fast.""",
    ).tag(config=True)

    upstreams = Dict(
        value_trait=Dict(),
        key_trait=Unicode(),
        help="""Other servers with OpenAI's API, whose models stand next to local ones as
        name:model. For example {"lab": {"url": "https://lab.example/v1", "key_env": "LAB_KEY"}}.
        Settings of an upstream: url, key_env or key_file (its key, which stays in this server),
        key_header, headers, models, extra (parameters that it has beyond OpenAI's API), rename,
        timeout (seconds), max_requests, max_answer_bytes, stream_usage, users and groups (of
        JupyterHub). See the page Upstreams.""",
    ).tag(config=True)

    @validate("upstreams")
    def _check_upstreams(self, proposal: Any) -> Any:
        try:
            check_upstreams(proposal["value"])
        except ValueError as error:
            raise TraitError(f"MlxNotebookApp.{error}.") from None
        return proposal["value"]

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
        prompts slower.""",
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

    body_timeout_seconds = Float(
        300.0,
        min=1.0,
        help="Seconds in which the body of a request must arrive. A slower one gets a 408.",
    ).tag(config=True)

    max_messages = Integer(
        4096, min=1, help="Most messages in one request. A request with more gets a 400."
    ).tag(config=True)

    # --- images -----------------------------------------------------------------------------------

    max_image_bytes = Integer(
        20 * 1024 * 1024, min=1024, help="Largest image, in bytes. A larger one gets a 400."
    ).tag(config=True)

    max_image_pixels = Integer(
        50_000_000,
        min=1024,
        max=64 * 2**20,
        help="""Most pixels of an image. This is checked before the image is decoded, since a small
        file can contain an image that fills the memory. At most 67,108,864, the engine's limit.""",
    ).tag(config=True)

    max_images = Integer(
        64,
        min=0,
        help="""Most images in the whole conversation of a request. Together they may have
        max_body_bytes.""",
    ).tag(config=True)

    # --- documents and videos ---------------------------------------------------------------------

    max_document_bytes = Integer(
        32 * 1024 * 1024,
        min=1024,
        help="""Largest PDF, in bytes. A larger one gets a 400. In a request it is a third larger,
        and max_body_bytes applies too.""",
    ).tag(config=True)

    document_pages = Integer(
        20,
        min=1,
        help="""Pages of a PDF that a model sees if the request does not choose any: the first ones.
        The response says so in the header x-mlx-notices if there are more.""",
    ).tag(config=True)

    max_document_pages = Integer(
        100, min=1, help="Most pages of all PDFs in the whole conversation of a request."
    ).tag(config=True)

    document_page_pixels = Integer(
        1_000_000,
        min=10_000,
        max=64 * 2**20,
        help="""Pixels of a page of a PDF as the model sees it. More show small print better and
        take more of the context. An A4 page with 1,000,000 has 100 pixels an inch.""",
    ).tag(config=True)

    max_video_bytes = Integer(
        64 * 1024 * 1024,
        min=1024,
        help="""Largest video, in bytes. A larger one gets a 400. In a request it is a third larger,
        and max_body_bytes applies too.""",
    ).tag(config=True)

    max_video_seconds = Float(
        3600.0, min=1.0, help="Longest video, in seconds. A longer one gets a 400."
    ).tag(config=True)

    video_fps = Float(
        1.0,
        min=0.01,
        max=60.0,
        help="Frames of each second of a video that a model sees if the request does not say.",
    ).tag(config=True)

    video_frames = Integer(
        32,
        min=1,
        help="""Most frames of a video that a model sees if the request does not say. They are
        spread over the whole video.""",
    ).tag(config=True)

    max_video_frames = Integer(
        128, min=1, help="Most frames of all videos in the whole conversation of a request."
    ).tag(config=True)

    video_frame_pixels = Integer(
        262_144,
        min=1024,
        max=64 * 2**20,
        help="Most pixels of a frame of a video. Larger frames are scaled down.",
    ).tag(config=True)

    allow_image_urls = List(
        Unicode(),
        help="""Hosts from which images, PDFs and videos are fetched if a request names them by URL,
        for example "upload.wikimedia.org" or "images.example:8080" (without a port: 80 and 443).
        A host on a private network or on this machine is refused, unless its address is listed too.
        Empty: requests must contain their files.""",
    ).tag(config=True)

    image_root = Unicode(
        "",
        help="""Folder, with all folders in it, whose images, PDFs and videos requests may name by
        file: URLs. Empty: none.""",
    ).tag(config=True)

    # --- sound ------------------------------------------------------------------------------------

    max_audio_bytes = Integer(
        25 * 1024 * 1024,
        min=1024,
        help="Largest file of sound to write down, in bytes. A larger one gets a 413.",
    ).tag(config=True)

    max_audio_seconds = Float(
        3600.0, min=1.0, help="Longest sound to write down, in seconds. A longer one gets a 400."
    ).tag(config=True)

    # --- responses --------------------------------------------------------------------------------

    keep_alive_seconds = Float(
        10.0,
        min=0.1,
        help="""Send a comment to a streaming client after this many seconds without a token, so
        that no proxy closes the connection. If the client's machine does not answer for this long,
        the connection is closed and the request ends.""",
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
        help="""Report each request to OpenTelemetry: a span and metrics of its GenAI conventions.
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

    # --- the engine -------------------------------------------------------------------------------

    ranks = Integer(
        1,
        min=1,
        help="""Number of processes on this machine that compute each model together. With more than
        one, each holds a part of a model's weights. For several machines, set hostfile instead.""",
    ).tag(config=True)

    hostfile = Unicode(
        "",
        help="""Path of a hostfile of mlx.launch, which mlx.distributed_config writes: the machines
        that compute each model together. The first one must be this machine. The others are reached
        with ssh. Empty: this machine only.""",
    ).tag(config=True)

    distributed_backend = CaselessStrEnum(
        ["any", "ring", "jaccl", "jaccl-ring", "nccl"],
        default_value="any",
        help="""How ranks exchange arrays: "ring" (TCP), "jaccl" (RDMA over Thunderbolt), "nccl"
        (NVIDIA). "any": the backend of the hostfile; else jaccl if every host lists its RDMA
        devices, nccl with CUDA, and ring otherwise.""",
    ).tag(config=True)

    start_engine_at_startup = Bool(
        help="""Start the engine process with the server, and not with the first request. Default:
        only for jupyter mlx-notebook."""
    ).tag(config=True)

    engine_env = Dict(
        value_trait=Unicode(),
        key_trait=Unicode(),
        help="Environment variables of the engine process, in addition to those of the server.",
    ).tag(config=True)

    engine_timeout_seconds = Float(
        30.0,
        min=1.0,
        help="Kill and restart the engine if it has sent nothing for this many seconds.",
    ).tag(config=True)

    step_timeout_seconds = Float(
        300.0,
        min=1.0,
        help="""Kill and restart the engine if one step takes this many seconds (a token for each
        running request, or prefill_step tokens of a prompt), or if preparing a prompt takes this
        long. The first steps of a model may have to compile and may take four times as long.
        Loading a model has no limit.""",
    ).tag(config=True)

    prefix_cache_bytes = Integer(
        0, min=0, help="Memory for the prefix cache, in bytes. 0: the engine chooses."
    ).tag(config=True)

    prefix_cache_entries = Integer(64, min=0, help="Most entries of the prefix cache.").tag(
        config=True
    )

    prefix_disk_bytes = Integer(
        4 * 1024**3,
        min=0,
        help="""Disk space for the prefix cache of prompts that are likely to come back, in bytes.
        They need not be computed again after a model is unloaded or the engine restarts. They are
        in Jupyter's data directory, readable by you only. The least recently used ones are deleted
        first. 0: none are kept.""",
    ).tag(config=True)

    prefix_disk_hourly_bytes = Integer(
        4 * 1024**3,
        min=0,
        help="""Most bytes that the prefix cache writes to disk within an hour, so that the disk is
        not worn. Beyond that, prompts are kept in memory only. mlx/status tells what was written
        and what was skipped. 0: no limit.""",
    ).tag(config=True)

    @validate("wired_limit")
    def _check_wired_limit(self, proposal: dict[str, Any]) -> str:
        value: str = proposal["value"]
        if value not in ("off", "auto") and not (value.isdecimal() and value.isascii()):
            raise TraitError(
                "MlxNotebookApp.wired_limit is 'off', 'auto' or a number of bytes such as "
                f"'8000000000', and not {value!r}."
            )
        return value

    @validate("hostfile")
    def _check_hostfile(self, proposal: dict[str, Any]) -> str:
        value: str = proposal["value"]
        if value:
            from mlx_notebook.server.engine.hostfile import read_hostfile

            try:
                read_hostfile(value)
            except ValueError as error:
                raise TraitError(f"MlxNotebookApp.hostfile: {error}") from None
        return value

    @validate("allow_image_urls")
    def _check_image_hosts(self, proposal: dict[str, Any]) -> list[str]:
        from mlx_notebook.server.images.image_fetcher import parse_host

        hosts: list[str] = proposal["value"]
        for host in hosts:
            try:
                parse_host(host)
            except ValueError:
                raise TraitError(
                    "MlxNotebookApp.allow_image_urls lists hosts, like 'upload.wikimedia.org' or "
                    f"'images.example:8080', and not {host!r}."
                ) from None
        return hosts

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
