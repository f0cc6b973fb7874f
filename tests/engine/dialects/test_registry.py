"""Which dialect a model speaks, and which functions a request declares."""

from typing import Any

import pytest

from mlx_notebook.engine.dialects import registry
from mlx_notebook.engine.functions.declared import DeclaredFunctions


@pytest.mark.parametrize(
    ("template", "name"),
    [
        (
            '<tool_call>\\n{\\"name\\": <function-name>, \\"arguments\\": x} tool_call.name',
            "hermes",
        ),
        ("<tool_call>\n<function=f>\n<parameter=p>", "qwen3_coder"),
        ("'<seed:tool_call>\n<function=f><parameter=p>'", "seed_oss"),
        ("<tool_call>{name}\n<arg_key>{k}</arg_key>", "glm47"),
        ("<|channel|>commentary <|message|> <|call|>", "harmony"),
        ("'<｜tool▁calls▁begin｜>' + 'function' + '```json'", "deepseek"),
        ("'<｜tool▁calls▁begin｜>' + tool['function']['name']", "deepseek_v31"),
        ("{%- set dsml_token = '｜DSML｜' -%} function_calls", "deepseek_v32"),
        ("[TOOL_CALLS] {{ name }}[ARGS]", "mistral"),
        ("[TOOL_CALLS] [{{ tool_calls | tojson }}]", "mistral_list"),
        ("<|start_of_role|>assistant <|tool_call|>", "granite"),
        ("<|start_of_role|>assistant <tool_call> arguments", "hermes"),
        ("<|tool|>{{ tools }}<|/tool|>", "phi"),
        ("<TOOLCALL>[{{ call }}]</TOOLCALL>", "nemotron"),
        ("<tool_calls>[{{ call }}]</tool_calls>", "apriel"),
        ("<|START_ACTION|>[", "cohere"),
        ('<|start_header_id|> tools: {"name": f, "parameters": d}', "llama"),
        ("<|start_header_id|> <function=example>{..}</function>", "functionary"),
        ("<|tool_call_start|>[f()]<|tool_call_end|>", "pythonic"),
        ("<|tool_calls_section_begin|>", "kimi_k2"),
        ("<minimax:tool_call>", "minimax_m2"),
        ("<longcat_tool_call>", "longcat"),
        ("<|tool_call>call:f{}<tool_call|>", "gemma4"),
        ("<start_function_call>call:f{}", "function_gemma"),
        ("<atem:function_calls>", "muse_spark"),
        ("```tool_code", "gemma_tool_code"),
    ],
)
def test_the_template_tells_the_dialect(template: str, name: str) -> None:
    found = registry.infer(template, {})
    assert found is not None
    assert found.name == name


def test_a_template_without_calls_tells_no_dialect() -> None:
    assert registry.infer("{% for m in messages %}{{ m.content }}{% endfor %}", {}) is None
    assert registry.infer(None, {}) is None


def test_families_without_tools_get_a_dialect_of_their_own() -> None:
    assert registry.for_family("gemma3_text").name == "gemma_tool_code"
    assert registry.for_family("llama").name == "llama"
    assert registry.for_family("qwen3").name == "hermes"


def test_dialects_have_mlx_lms_names_too_and_unknown_ones_are_refused() -> None:
    assert registry.get("json_tools") is registry.get("hermes")
    assert registry.get("laguna").name == "glm47"
    with pytest.raises(ValueError, match=r"'klingon'.*hermes"):
        registry.get("klingon")
    with pytest.raises(ValueError, match="no tool-call dialect"):
        registry.get("../os")


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "function", "function": {}},
        {"type": "function", "function": {"name": 3}},
        {"type": "web_search"},
        {"type": "function", "function": {"name": "f", "parameters": [1]}},
        {"type": "function", "function": {"name": "f", "parameters": {"type": "array"}}},
    ],
)
def test_a_tool_that_is_no_function_is_named_by_its_place(tool: dict[str, Any]) -> None:
    maybe = {"name": "now", "parameters": {"type": ["object", "null"]}}
    with pytest.raises(ValueError, match=r"tools\[1\]"):
        DeclaredFunctions.from_tools([{"type": "function", "function": maybe}, tool])
