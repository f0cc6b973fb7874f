"""Everything that can be set in Jupyter's configuration or on the command line."""

from pathlib import Path
from typing import Any

from traitlets import (
    Bool,
    CaselessStrEnum,
    Dict,
    Float,
    HasTraits,
    Integer,
    List,
    TraitError,
    Unicode,
    validate,
)

from mlx_notebook.protocol import EngineConfig
from mlx_notebook.server.engine.supervisor import SupervisorLimits
from mlx_notebook.server.models.model_settings import check_settings


class Configuration(HasTraits):
    """The traits of the extension app, and what they mean for the engine.

    No `Configurable` of its own: the settings are called `MlxNotebookApp.<name>`.
    """

    # --- models -----------------------------------------------------------------------------------

    default_model = Unicode(
        "",
        help="""Name of the model for requests that name none. Without one: the model used last,
        and before any use the embedded tiny-chat.""",
    ).tag(config=True)

    models_dirs = List(
        Unicode(),
        help="""Folders that hold models in mlx-lm's layout, as <name>/ or <organisation>/<name>/.
        Links out of such a folder are followed where its owner or the user of this server made
        them. The Hugging Face cache is always searched too.""",
    ).tag(config=True)

    model_aliases = Dict(
        value_trait=Unicode(),
        key_trait=Unicode(),
        help="""Further names for models, as {"qwen": "mlx-community/Qwen3-4B-4bit"}.""",
    ).tag(config=True)

    unknown_model = CaselessStrEnum(
        ["error", "loaded"],
        default_value="error",
        help="""What to do when a request names a model that is not on this machine: answer 404
        ("error"), or use the model that was used last ("loaded"). The latter is for clients with a
        fixed model name.""",
    ).tag(config=True)

    model_settings = Dict(
        value_trait=Dict(),
        key_trait=Unicode(),
        help="""Settings of single models, as {"qwen": {"temperature": 0.6, "thinking": False}}.
        Defaults of requests: temperature, top_p, top_k, min_p, repetition_penalty, max_tokens,
        system (a system message), thinking. How the model is loaded: context_limit (tokens),
        tool_dialect, adapter, adapters (that requests may name as model+adapter), draft (a smaller
        model for speculative decoding), prompt_lookup (speculative decoding without one: the most
        tokens to guess from the text so far), kv_bits (4 or 8), revision, trust_remote_code.""",
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
        help="""How much memory all models together may take, in bytes. To make room for another
        model, the one unused for longest is unloaded. 0: 85 % of what Metal recommends on
        a Mac, 60 % of the memory that this process may use on a CPU.""",
    ).tag(config=True)

    max_resident = Integer(
        0, min=0, help="How many models may be in memory at most; 0 sets no limit but the memory."
    ).tag(config=True)

    swap_patience_seconds = Float(
        5.0,
        min=0.0,
        help="""How many seconds a request that waits for memory lets later requests go first.
        After that, later requests for the models that it must replace wait too.""",
    ).tag(config=True)

    idle_unload_minutes = Float(
        15.0,
        min=0.0,
        help="""Unload a model after this many minutes without a request. An open notebook or panel
        that used it lately keeps it in memory (notebook_keep_minutes). 0: never unload it.""",
    ).tag(config=True)

    notebook_keep_minutes = Float(
        60.0,
        min=0.0,
        help="""A model that a notebook or a panel used stays in memory for this many minutes after
        its last use, while that notebook's kernel runs. idle_unload_minutes are counted after that.
        The model may still be unloaded to make room for another one. 0: open notebooks do not
        count.""",
    ).tag(config=True)

    warm_up = Bool(
        True,
        help="""Run a model once when it is loaded before any request (%mlx load), so that its first
        request is fast.""",
    ).tag(config=True)

    # --- requests ---------------------------------------------------------------------------------

    max_batch = Integer(
        32, min=1, help="How many sequences are decoded together. Further ones wait."
    ).tag(config=True)

    queue_limit = Integer(
        64,
        min=0,
        help="How many sequences may wait beyond max_batch. A request beyond that gets a 429.",
    ).tag(config=True)

    prefill_step = Integer(
        512,
        min=16,
        help="""Most prompt tokens that one step computes. Smaller steps hold up running streams
        less; larger ones process long prompts faster.""",
    ).tag(config=True)

    max_prompt_tokens = Integer(
        0, min=0, help="Longest prompt in tokens; 0 leaves it to the model's context length."
    ).tag(config=True)

    max_body_bytes = Integer(
        32 * 1024 * 1024, min=1024, help="Largest request body in bytes. A larger one gets a 413."
    ).tag(config=True)

    body_timeout_seconds = Float(
        300.0,
        min=1.0,
        help="How many seconds a request's body may take to arrive. A slower one gets a 408.",
    ).tag(config=True)

    max_messages = Integer(
        4096, min=1, help="Most messages in one request. A request with more gets a 400."
    ).tag(config=True)

    # --- pictures ---------------------------------------------------------------------------------

    max_image_bytes = Integer(
        20 * 1024 * 1024, min=1024, help="Largest image in bytes. A larger one gets a 400."
    ).tag(config=True)

    max_image_pixels = Integer(
        50_000_000,
        min=1024,
        max=64 * 2**20,
        help="""Most pixels of an image. A small file can hold an image that fills the memory, so
        this is checked before the image is decoded. At most 67,108,864, the engine's own limit.""",
    ).tag(config=True)

    max_images = Integer(
        64,
        min=0,
        help="""Most images in one request, over its whole conversation. Together they may have
        max_body_bytes.""",
    ).tag(config=True)

    allow_image_urls = List(
        Unicode(),
        help="""Hosts from which images that a request names by URL are fetched, as
        "upload.wikimedia.org" or "images.example:8080" (without a port: 80 and 443). A host on a
        private network or on this machine is refused, unless its address is listed too. Empty:
        images must be inside the requests.""",
    ).tag(config=True)

    image_root = Unicode(
        "",
        help="""Folder from which requests may name images by file: URLs; the folders in it count.
        Empty: none.""",
    ).tag(config=True)

    # --- answers ----------------------------------------------------------------------------------

    keep_alive_seconds = Float(
        10.0,
        min=0.1,
        help="""After this many seconds without a token a streaming client is sent a comment, so
        that no proxy closes the connection. A client whose machine does not answer for this long is
        disconnected, and its request ends.""",
    ).tag(config=True)

    responses_max_age_days = Float(
        30.0,
        min=0.0,
        help="Days since its last use until a stored response or chat completion is forgotten.",
    ).tag(config=True)

    responses_max_bytes = Integer(
        256 * 1024 * 1024,
        min=0,
        help="""How much disk stored responses and chat completions may take, in bytes. Those unused
        for longest are deleted first. 0 stores none.""",
    ).tag(config=True)

    traces_limit = Integer(
        100,
        min=0,
        help="""How many of a user's last requests are kept for mlx/traces, with their texts, in
        memory only. 0 keeps none.""",
    ).tag(config=True)

    shared_between_users = List(
        CaselessStrEnum(["requests", "settings", "prefixes"]),
        help="""What users of one server share, where Jupyter tells them apart (as with JupyterHub):
        "requests": everyone sees and can stop everyone's requests. "settings": what one user saves
        for a model (its system message, for example) holds for all. "prefixes": computed prompts
        are reused across users; a request's time and its cached_tokens then tell that somebody sent
        the same text before. All who use the server's token or password are one user.""",
    ).tag(config=True)

    # --- the engine -------------------------------------------------------------------------------

    start_engine_at_startup = Bool(
        help="""Start the engine process with the server, not with the first request. Default: only
        for jupyter mlx-notebook."""
    ).tag(config=True)

    engine_env = Dict(
        value_trait=Unicode(),
        key_trait=Unicode(),
        help="Environment variables for the engine process, on top of the server's own.",
    ).tag(config=True)

    engine_timeout_seconds = Float(
        30.0,
        min=1.0,
        help="Kill and restart the engine when it has sent nothing for this many seconds.",
    ).tag(config=True)

    step_timeout_seconds = Float(
        300.0,
        min=1.0,
        help="""Kill and restart the engine when one step takes this many seconds (a token for each
        running request, or prefill_step tokens of a prompt), or when it has prepared no prompt for
        this long. The first steps of a model may have to compile and get four times as long.
        Loading a model has no limit.""",
    ).tag(config=True)

    prefix_cache_bytes = Integer(
        0, min=0, help="Memory for kept prompts (KV caches) in bytes; 0 lets the engine choose."
    ).tag(config=True)

    prefix_cache_entries = Integer(64, min=0, help="Most prompts kept for reuse.").tag(config=True)

    prefix_disk_bytes = Integer(
        4 * 1024**3,
        min=0,
        help="""How much disk kept long prompts may take, in bytes. They need not be computed again
        after a model was unloaded or the engine restarted. They are in Jupyter's data directory,
        readable by you only. Those unused for longest are deleted first. 0 keeps none.""",
    ).tag(config=True)

    @validate("allow_image_urls")
    def _check_image_hosts(self, proposal: dict[str, Any]) -> list[str]:
        from mlx_notebook.server.images.image_fetcher import parse_host

        hosts: list[str] = proposal["value"]
        for host in hosts:
            try:
                parse_host(host)
            except ValueError:
                raise TraitError(
                    "MlxNotebookApp.allow_image_urls lists hosts, as 'upload.wikimedia.org' or "
                    f"'images.example:8080', and not {host!r}."
                ) from None
        return hosts

    def engine_config(self, data: Path, *, debug: bool) -> EngineConfig:
        """Return what the engine is told, which may keep prompts below the folder `data`."""
        return EngineConfig(
            max_batch=self.max_batch,
            prefill_step=self.prefill_step,
            max_prompt_tokens=self.max_prompt_tokens or None,
            memory_budget=self.memory_budget_bytes or None,
            max_resident=self.max_resident,
            swap_patience=self.swap_patience_seconds,
            idle_unload_minutes=self.idle_unload_minutes,
            prefix_cache_entries=self.prefix_cache_entries,
            prefix_cache_bytes=self.prefix_cache_bytes or None,
            prefix_disk_path=str(data / "prefixes"),
            prefix_disk_bytes=self.prefix_disk_bytes,
            warm_up=self.warm_up,
            log_level="DEBUG" if debug else "INFO",
        )

    @property
    def limits(self) -> SupervisorLimits:
        """The supervisor's bounds."""
        return SupervisorLimits(
            queue=self.queue_limit,
            heartbeat=self.engine_timeout_seconds,
            step=self.step_timeout_seconds,
            keep_alive=self.keep_alive_seconds,
        )
