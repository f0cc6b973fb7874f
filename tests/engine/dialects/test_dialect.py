"""What single dialects meet in the wild: the forms that models really write, and their slips."""

import json
from typing import Any

import pytest

from mlx_notebook.engine.dialects import registry
from mlx_notebook.engine.dialects.harmony_reader import HarmonyReader
from mlx_notebook.engine.dialects.output_events import CallEnd, CallFailed, Content, OutputEvent
from mlx_notebook.engine.dialects.output_reader import read
from mlx_notebook.engine.functions.declared import DeclaredFunctions

TOOLS = DeclaredFunctions.from_tools(
    [
        {
            "type": "function",
            "function": {
                "name": "send",
                "parameters": {
                    "type": "object",
                    "properties": {
                        "to": {"type": "string"},
                        "zip": {"$ref": "#/$defs/zip"},
                        "count": {"type": "integer"},
                        "price": {"type": "number"},
                        "fast": {"type": "boolean"},
                        "tags": {"type": "array", "items": {"type": "string"}},
                        "extra": {"type": "object"},
                        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                        "any": {},
                    },
                    "$defs": {"zip": {"type": "string"}},
                },
            },
        },
        {"type": "function", "function": {"name": "now"}},
        {"type": "function", "function": {"name": "get-time.utc"}},
    ]
)


def events(name: str, text: str) -> list[OutputEvent]:
    return read(text, registry.get(name), TOOLS)


def calls(name: str, text: str) -> list[tuple[str, Any]]:
    return [
        (event.call.name, json.loads(event.call.arguments))
        for event in events(name, text)
        if isinstance(event, CallEnd)
    ]


def only_call(name: str, text: str) -> Any:
    ((_, arguments),) = calls(name, text)
    return arguments


def failure(name: str, text: str) -> str:
    made = events(name, text)
    assert not [event for event in made if isinstance(event, CallEnd)]
    (failed,) = [event for event in made if isinstance(event, CallFailed)]
    assert "".join(e.text for e in made if isinstance(e, Content)) == text
    return failed.reason


def code(*lines: str) -> str:
    return "```tool_code\n" + "\n".join(lines) + "\n```"


# --- Gemma 3 ----------------------------------------------------------------------------------


def test_gemma_positional_arguments_take_the_declared_order() -> None:
    assert only_call("gemma_tool_code", code('send("Ann", "02134", 3, price=2)')) == {
        "to": "Ann",
        "zip": "02134",
        "count": 3,
        "price": 2,
    }


@pytest.mark.parametrize(
    ("literal", "value"),
    [
        ('"02134"', "02134"),
        ("02134", "02134"),
        ("2134", "2134"),
        ("'it\\'s'", "it's"),
        ('"a\\nb \\u00e9 \\ud83d\\ude00"', "a\nb é 😀"),
        ('"""three "quotes", and ) too"""', 'three "quotes", and ) too'),
        ("'a' 'b'", "ab"),
        ('"# no comment, (really)"', "# no comment, (really)"),
        ('"```py\\ncode\\n```"', "```py\ncode\n```"),
        ("''", ""),
        ('""', ""),
    ],
)
def test_gemma_strings_stay_strings(literal: str, value: str) -> None:
    assert only_call("gemma_tool_code", code(f"send(zip={literal})")) == {"zip": value}


def test_gemma_nested_literals_and_constants() -> None:
    text = code("send(tags=['a', \"b\"], extra={'a': [1, None, True], 'b': (1.5, {})}, note=None)")
    assert only_call("gemma_tool_code", text) == {
        "tags": ["a", "b"],
        "extra": {"a": [1, None, True], "b": [1.5, {}]},
        "note": None,
    }
    text = code("send(fast=true, note=null, any=-3)")
    assert only_call("gemma_tool_code", text) == {"fast": True, "note": None, "any": -3}


def test_gemma_several_calls_in_a_block_with_code_around_them() -> None:
    text = code(
        "# first the time",
        "t = now()",
        "",
        "print(send(to='Ann'))",
        "default_api.send(",
        "    to='Bob',",
        "    count=2,",
        ")",
    )
    assert calls("gemma_tool_code", text) == [
        ("now", {}),
        ("send", {"to": "Ann"}),
        ("send", {"to": "Bob", "count": 2}),
    ]


def test_gemma_names_that_are_no_identifiers_are_found_again() -> None:
    assert calls("gemma_tool_code", code("get_time_utc()")) == [("get-time.utc", {})]
    assert calls("gemma_tool_code", code("get-time.utc()")) == [("get-time.utc", {})]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("send(to=name)", "not a Python literal"),
        ("send(to=f'{x}')", "not a Python literal"),
        ("send(**data)", r"\*\*"),
        ("now(1)", "more arguments"),
        ("send(to='a', to='b')", "twice"),
        ("import os", "function's name|ends inside"),
        ("x = 3", "function's name|ends inside"),
        ("send(to='a'", "ends inside"),
    ],
)
def test_gemma_code_that_is_no_call_is_content(line: str, reason: str) -> None:
    import re

    assert re.search(reason, failure("gemma_tool_code", code(line)))


def test_gemma_an_empty_block_is_content() -> None:
    assert "no call" in failure("gemma_tool_code", code(""))


# --- JSON -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        '{"name": "send", "arguments": {"to": "Ann"}}',
        '{"name":"send","arguments":{"to":"Ann"}}',
        '{"arguments": {"to": "Ann"}, "name": "send"}',
        '{"id": "x", "name": "send", "parameters": {"to": "Ann"}, "type": "function"}',
        '{"type": "function", "function": {"name": "send", "arguments": {"to": "Ann"}}}',
        '{"function": "send", "arguments": {"to": "Ann"}}',
        '{"name": "send", "arguments": "{\\"to\\": \\"Ann\\"}"}',
        '[{"name": "send", "arguments": {"to": "Ann"}}]',
        '{"name": "send", "arguments": {"to": "Ann"}}}',
        '{\n  "name": "send",\n  "arguments": {\n    "to": "Ann"\n  }\n}',
    ],
)
def test_hermes_reads_the_shapes_that_models_give_a_call(body: str) -> None:
    assert calls("hermes", f"<tool_call>\n{body}\n</tool_call>") == [("send", {"to": "Ann"})]


@pytest.mark.parametrize("arguments", ["{}", "null", '""', '"{}"', '"null"'])
def test_hermes_no_arguments_are_an_empty_object(arguments: str) -> None:
    text = f'<tool_call>{{"name": "now", "arguments": {arguments}}}</tool_call>'
    assert calls("hermes", text) == [("now", {})]
    assert calls("hermes", '<tool_call>{"name": "now"}</tool_call>') == [("now", {})]


def test_hermes_keys_keep_their_order_and_the_text_its_form() -> None:
    text = '<tool_call>{"name": "send", "arguments": {"zip":"1",  "to": "x"}}</tool_call>'
    (end,) = [e for e in events("hermes", text) if isinstance(e, CallEnd)]
    assert end.call.arguments == '{"zip":"1",  "to": "x"}'
    assert end.call.raw == text.removesuffix("</tool_call>")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("send(to='Ann')", "holds no call"),
        ('{"name": "send", "arguments": [1]}', "not a JSON object"),
        ('{"name": "send", "arguments": {"to": Ann}}', "not JSON"),
        ('{"name": "send", "arguments": {"to": NaN}}', "not JSON"),
        ('{"arguments": {"to": "Ann"}}', "names no function"),
        ('{"name": "", "arguments": {}}', "names no function"),
        ('{"name": 3, "arguments": {}}', "names no function"),
        ('{"name" "send"}', "Expected ':'"),
    ],
)
def test_hermes_what_is_no_call_is_content_with_the_reason(body: str, reason: str) -> None:
    assert reason in failure("hermes", f"<tool_call>{body}</tool_call>")


def test_arguments_that_break_the_schema_are_still_the_models_call() -> None:
    text = '<tool_call>{"name": "send", "arguments": {"count": "many", "nope": 1}}</tool_call>'
    assert only_call("hermes", text) == {"count": "many", "nope": 1}


def test_llama_with_and_without_its_tag() -> None:
    body = '{"name": "send", "parameters": {"to": "Ann"}}'
    assert calls("llama", body) == [("send", {"to": "Ann"})]
    assert calls("llama", f"  \n{body}") == [("send", {"to": "Ann"})]
    assert calls("llama", f"<|python_tag|>{body}") == [("send", {"to": "Ann"})]
    assert len(calls("llama", f"{body}; {body}")) == 2
    assert len(calls("llama", f"[{body}, {body}]")) == 0
    assert len(calls("llama", f"<|python_tag|>[{body}, {body}]")) == 2


def test_llama_json_that_is_an_answer_stays_one() -> None:
    assert "not a declared function" in failure("llama", '{"name": "Bob", "age": 3}')
    text = 'The object {"name": "send"} is an example.'
    assert events("llama", text) == [Content(text)]


def test_mistral_in_both_forms() -> None:
    args = '{"to": "Ann"}'
    for text in (
        f"[TOOL_CALLS]send[ARGS]{args}",
        f"[TOOL_CALLS]send[CALL_ID]abc123456[ARGS]{args}",
        f"[TOOL_CALLS]send{args}",
        f'[TOOL_CALLS] [{{"name": "send", "arguments": {args}, "id": "123456789"}}]',
    ):
        assert calls("mistral", text) == [("send", {"to": "Ann"})], text


def test_deepseek_in_both_forms() -> None:
    begin, end = (
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>",
        "<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    )
    for middle in (
        'function<｜tool▁sep｜>send\n```json\n{"to": "Ann"}\n```',
        'function<｜tool▁sep｜>send\n{"to": "Ann"}',
        'send<｜tool▁sep｜>{"to": "Ann"}',
    ):
        assert calls("deepseek", begin + middle + end) == [("send", {"to": "Ann"})], middle


def test_granite_and_phi_write_a_list_or_one_object() -> None:
    body = '{"name": "send", "arguments": {"to": "Ann"}}'
    assert calls("granite", f"<|tool_call|>[{body}]") == [("send", {"to": "Ann"})]
    assert calls("granite", f"<|tool_call|>{body}") == [("send", {"to": "Ann"})]
    assert calls("phi", f"<|tool_call|>{body}<|/tool_call|>") == [("send", {"to": "Ann"})]


# --- tags -------------------------------------------------------------------------------------


def test_qwen_values_take_the_types_of_the_schema() -> None:
    parameters = {
        "zip": "02134",
        "count": "3",
        "price": "2.50",
        "fast": "True",
        "tags": "['a', \"b\"]",
        "extra": '{"k": [1]}',
        "note": "null",
        "any": "12",
        "to": "a < b & c\n\n  indented",
    }
    body = "".join(f"<parameter={k}>\n{v}\n</parameter>\n" for k, v in parameters.items())
    text = f"<tool_call>\n<function=send>\n{body}</function>\n</tool_call>"
    assert only_call("qwen3_coder", text) == {
        "zip": "02134",
        "count": 3,
        "price": 2.5,
        "fast": True,
        "tags": ["a", "b"],
        "extra": {"k": [1]},
        "note": None,
        "any": 12,
        "to": "a < b & c\n\n  indented",
    }


def test_qwen_without_the_outer_tag_is_a_call_too() -> None:
    text = "<function=send>\n<parameter=to>\nAnn\n</parameter>\n</function>\n</tool_call>"
    assert calls("qwen3_coder", text) == [("send", {"to": "Ann"})]


def test_glm_with_and_without_newlines() -> None:
    for gap in ("\n", ""):
        text = gap.join(
            (
                "<tool_call>send",
                "<arg_key>to</arg_key>",
                "<arg_value>Ann</arg_value>",
                "</tool_call>",
            )
        )
        assert calls("glm47", text) == [("send", {"to": "Ann"})]
    assert calls("glm47", "<tool_call>now</tool_call>") == [("now", {})]


def test_deepseek_v32_attributes_tell_strings_from_json() -> None:
    text = (
        '<｜DSML｜function_calls>\n<｜DSML｜invoke name="send">\n'
        '<｜DSML｜parameter name="any" string="true">12</｜DSML｜parameter>\n'
        '<｜DSML｜parameter name="count" string="false">12</｜DSML｜parameter>\n'
        "</｜DSML｜invoke>\n</｜DSML｜function_calls>"
    )
    assert only_call("deepseek_v32", text) == {"any": "12", "count": 12}


# --- harmony ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        "<|channel|>commentary to=functions.send <|constrain|>json<|message|>",
        "<|channel|>commentary to=functions.send<|message|>",
        "<|channel|>analysis to=functions.send code<|message|>",
        " to=functions.send<|channel|>commentary json<|message|>",
        "<|start|>assistant to=functions.send<|channel|>commentary <|constrain|>json<|message|>",
    ],
)
def test_harmony_recipients_stand_in_several_places(header: str) -> None:
    for end in ("<|call|>", ""):
        reader = HarmonyReader(registry.get("harmony"), TOOLS)  # type: ignore[arg-type]
        made = reader.feed(header + '{"to": "Ann"}' + end) + reader.finish(cut=False)
        (call,) = [event.call for event in made if isinstance(event, CallEnd)]
        assert (call.name, call.arguments) == ("send", '{"to": "Ann"}')
        assert not any(isinstance(event, Content) for event in made)


def test_harmony_preambles_are_content_and_built_in_tools_are_refused() -> None:
    reader = HarmonyReader(registry.get("harmony"), TOOLS)  # type: ignore[arg-type]
    text = (
        "<|channel|>commentary<|message|>I look.<|end|><|start|>assistant"
        "<|channel|>commentary to=python<|message|>print(1)<|call|>"
    )
    made = reader.feed(text) + reader.finish(cut=False)
    assert made[0] == Content("I look.")
    assert any(isinstance(event, CallFailed) and "'python'" in event.reason for event in made)


# --- mlx-lm's parsers -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "minicpm5",
            '<function name="send"><param name="to">Ann</param></function>',
        ),
        (
            "muse_spark",
            '<atem:function_calls><atem:invoke name="send"><atem:parameter name="to">Ann'
            "</atem:parameter></atem:invoke></atem:function_calls>",
        ),
        (
            "kimi_k3",
            '<|open|>tools<|sep|><|open|>call tool="send" index="1"<|sep|><|open|>argument key="to"'
            ' type="string"<|sep|>Ann<|close|>argument<|sep|><|close|>call<|sep|>'
            "<|close|>tools<|sep|>",
        ),
    ],
)
def test_dialects_that_mlx_lm_parses_come_through_its_functions(name: str, text: str) -> None:
    assert calls(name, f"I look. {text} Done") == [("send", {"to": "Ann"})]
    made = events(name, f"I look. {text} Done")
    assert "".join(e.text for e in made if isinstance(e, Content)) == "I look. Done"
    assert failure(name, text.replace("send", "launch"))


def test_what_mlx_lm_cannot_parse_is_content() -> None:
    text = "<atem:function_calls>nothing</atem:function_calls>"
    assert "muse_spark" in failure("muse_spark", text)
