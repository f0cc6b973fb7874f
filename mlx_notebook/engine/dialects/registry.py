"""All dialects by name, and the detection of a model's dialect."""

from collections.abc import Mapping
from functools import cache
from types import SimpleNamespace

from mlx_lm.tokenizer_utils import _infer_tool_parser

from mlx_notebook.engine.dialects.dialect import Dialect
from mlx_notebook.engine.dialects.families import (
    deepseek,
    functionary,
    granite,
    mistral,
    pythonic,
    qwen_xml,
)
from mlx_notebook.engine.dialects.families.gemma import FunctionGemma, Gemma4
from mlx_notebook.engine.dialects.families.gemma_code import GemmaCode
from mlx_notebook.engine.dialects.families.harmony import Harmony
from mlx_notebook.engine.dialects.families.hermes import Hermes
from mlx_notebook.engine.dialects.families.kimi import KimiK2
from mlx_notebook.engine.dialects.families.llama import Llama
from mlx_notebook.engine.dialects.mlx_lm_parsers import MlxLmDialect, contributed, load_module

_OWN: dict[str, type[Dialect]] = {
    dialect.name: dialect
    for dialect in (
        Hermes,
        Llama,
        Harmony,
        FunctionGemma,
        Gemma4,
        GemmaCode,
        KimiK2,
        deepseek.DeepSeekV3,
        deepseek.DeepSeekV31,
        deepseek.DeepSeekV32,
        functionary.Functionary,
        granite.Apriel,
        granite.Cohere,
        granite.Granite,
        granite.Nemotron,
        granite.Phi,
        mistral.Mistral,
        mistral.MistralList,
        pythonic.LlamaPythonic,
        pythonic.Pythonic,
        qwen_xml.GLM,
        qwen_xml.LongCat,
        qwen_xml.MiniMax,
        qwen_xml.QwenXML,
        qwen_xml.SeedOSS,
    )
}
# mlx-lm's names of dialects that have another name here.
_ALIASES = {"json_tools": "hermes", "laguna": "glm47"}
# Dialects that mlx-lm's functions parse.
_FROM_MLX_LM = ("kimi_k3", "minicpm5", "muse_spark")


def names() -> tuple[str, ...]:
    """Return all names, for `tool_dialect` in a model's settings."""
    return (*sorted({*_OWN, *_FROM_MLX_LM, *contributed()}),)


def get(name: str) -> Dialect:
    """Return a dialect by its name, or by mlx-lm's name for it.

    Raises
    ------
    ValueError
        If there is no such dialect. The message lists the known names.
    """
    return _get(_ALIASES.get(name, name))


@cache
def _get(name: str) -> Dialect:
    if name in _OWN:
        return _OWN[name]()
    try:
        # A later mlx-lm may have more parsers, and other packages contribute some.
        return MlxLmDialect(name, load_module(name))
    except ValueError as error:
        if name in contributed():
            raise
        known = ", ".join(names())
        message = f"There is no tool-call dialect {name!r}. Known are: {known}."
        raise ValueError(message) from error


def infer(template: str | None, vocabulary: Mapping[str, int]) -> Dialect | None:
    """Return the dialect of a model, from its chat template and vocabulary. None if unknown.

    Our own markers come first, then mlx-lm's detection.
    """
    name = _by_marks(template or "", vocabulary)
    if name is None:
        # mlx-lm uses only these two attributes of a tokenizer.
        tokenizer = SimpleNamespace(chat_template=template, get_vocab=lambda: vocabulary)
        name = _infer_tool_parser(tokenizer)
    if name is None and "<tool_call>" in (template or "") and "arguments" in (template or ""):
        name = "hermes"
    return get(name) if name is not None else None


def _by_marks(text: str, vocabulary: Mapping[str, int]) -> str | None:
    """Return the name of a dialect that mlx-lm does not know or does not distinguish."""
    if "<|channel|>" in text and "<|message|>" in text and "<|call|>" in text:
        return "harmony"
    if "DSML" in text and "function_calls" in text:
        return "deepseek_v32"
    if "tool▁calls▁begin" in text:
        fenced = "```json" in text
        return "deepseek" if fenced else "deepseek_v31"
    if "```tool_code" in text:
        return "gemma_tool_code"
    if "[TOOL_CALLS]" in text:
        return "mistral" if "[ARGS]" in text or "[ARGS]" in vocabulary else "mistral_list"
    for mark, name in (
        ("<seed:tool_call>", "seed_oss"),
        ("<TOOLCALL>", "nemotron"),
        ("<tool_calls>[", "apriel"),
        ("<|/tool_call|>", "phi"),
        ("<|/tool|>", "phi"),
        ("<|START_ACTION|>", "cohere"),
    ):
        if mark in text:
            return name
    if "<|tool_call|>" in text and "<|start_of_role|>" in text:
        return "granite"
    if "<tool_call>" in text and "<|start_of_role|>" in text and "arguments" in text:
        return "hermes"  # Granite 4
    if "<|python_start|>" in vocabulary or (
        "<|start_header_id|>" in text and "func_name1(params_name1" in text
    ):
        return "llama_pythonic"
    if "<function=" in text and "</function>" in text:
        return "qwen3_coder" if "<parameter=" in text else "functionary"
    if "<|start_header_id|>" in text and "parameters" in text and "tool" in text:
        return "llama"
    return None


def for_family(model_type: str) -> Dialect:
    """Return the dialect of our tool prompt for a model whose template does not support tools.

    `model_type` is the one in the model's config.json.
    """
    kind = model_type.lower()
    if kind.startswith(("gemma", "shieldgemma", "paligemma", "recurrent_gemma")):
        return get("gemma_tool_code")
    if kind.startswith(("llama", "mllama")):
        return get("llama")
    return get("hermes")
