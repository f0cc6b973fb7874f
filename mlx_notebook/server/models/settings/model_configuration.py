"""Define the settings about models."""

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

from mlx_notebook.server.models.other_programs import PROGRAMS
from mlx_notebook.server.models.settings.model_settings import check_settings
from mlx_notebook.server.upstreams.upstream_settings import check_upstreams


class ModelConfiguration(HasTraits):
    """Hold the traits about models: where they are, their names, and which stay in memory."""

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
