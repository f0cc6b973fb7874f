"""Calls and formats are enforced even on random weights."""

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest

from mlx_notebook import protocol
from tests.engine.process import EngineProcess, running
from tests.engine.test_generation import everything
from tests.tiny_models.models import TEMPLATE, qwen3


def tool(name: str, **properties: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    function = {"name": name, "description": f"does {name}", "parameters": schema}
    return {"type": "function", "function": {**function}}


TOOLS = [
    tool("move", direction={"enum": ["left", "right"]}, steps={"type": "integer", "maximum": 9}),
    tool("stop_now", sure={"type": "boolean"}),
]
HOT = {"temperature": 1.0, "max_tokens": 400}


_numbers = itertools.count()


class Asked:
    """One request and what came of it."""

    def __init__(self, engine: EngineProcess, model: Path, text: str, **options: Any):
        sampling = {**HOT, **options.pop("sampling", {})}
        tools = options.pop("tools", [])
        kwargs = options.pop("template_kwargs", {})
        self.id = f"{text}-{next(_numbers)}"
        settings = options.pop("model_options", protocol.ModelOptions())
        messages = options.pop("messages", [{"role": "user", "content": text}])
        prompt = protocol.ChatPrompt(messages=messages, tools=tools, template_kwargs=kwargs)
        engine.send(
            protocol.Generate(
                id=self.id,
                model="random",
                path=str(model),
                options=settings,
                prompt=prompt,
                sampling=protocol.Sampling(**sampling),
                trace=True,
                **options,
            )
        )
        self.engine = engine

    def wait(self) -> "Asked":
        (self.end,) = self.engine.finish(self.id)
        return self

    @property
    def calls(self) -> list[tuple[str, Any]]:
        names: dict[int, str] = {}
        arguments: dict[int, str] = {}
        for event in self.engine.events:
            if isinstance(event, protocol.ToolCallStart) and event.id == self.id:
                names[event.index] = event.name
            elif isinstance(event, protocol.ToolCallArguments) and event.id == self.id:
                arguments[event.index] = arguments.get(event.index, "") + event.arguments
        return [(name, json.loads(arguments[index])) for index, name in names.items()]

    @property
    def reason(self) -> str:
        return self.engine.reason(self.id)

    @property
    def content(self) -> str:
        return self.engine.text(self.id)


@pytest.mark.parametrize("seed", range(4))
def test_a_required_call_is_valid_whatever_the_weights(
    engine: EngineProcess, model: Path, seed: int
) -> None:
    choice = protocol.ToolChoice(mode="required", parallel=False)
    asked = Asked(
        engine, model, "go", tools=TOOLS, tool_choice=choice, sampling={"seed": seed}
    ).wait()
    assert isinstance(asked.end, protocol.Done), asked.end
    assert asked.reason == "tool_calls"
    assert asked.content == ""
    ((name, arguments),) = asked.calls
    if name == "move":
        assert arguments["direction"] in ("left", "right")
        assert arguments["steps"] <= 9
    else:
        assert isinstance(arguments["sure"], bool)


def test_a_named_function_is_the_one_called(engine: EngineProcess, model: Path) -> None:
    choice = protocol.ToolChoice(mode="required", names=["stop_now"], parallel=False)
    asked = Asked(engine, model, "named", tools=TOOLS, tool_choice=choice).wait()
    assert [name for name, _ in asked.calls] == ["stop_now"]


def prompts(engine: EngineProcess, model: Path, **options: Any) -> list[str]:
    """The prompts of a request with a free choice, without one, and with no tools at all."""
    none = protocol.ToolChoice(mode="none")
    brief = {"sampling": {"max_tokens": 2}, **options}
    asked = [
        Asked(engine, model, "x", tools=TOOLS, **brief),
        Asked(engine, model, "x", tools=TOOLS, tool_choice=none, **brief),
        Asked(engine, model, "x", **brief),
    ]
    ids = [one.wait().id for one in asked]
    assert not asked[1].calls
    traces = {
        event.id: event.prompt for event in engine.events if isinstance(event, protocol.Traced)
    }
    return [traces[id] for id in ids]


def test_no_choice_leaves_the_tools_in_the_prompt(engine: EngineProcess, model: Path) -> None:
    auto, none, without = prompts(engine, model)
    assert none == auto != without


def test_the_dialect_of_the_settings_wins(model: Path) -> None:
    options = protocol.ModelOptions(tool_dialect="mistral")
    choice = protocol.ToolChoice(mode="required", names=["stop_now"], parallel=False)
    with running() as engine:
        asked = Asked(
            engine, model, "x", tools=TOOLS, tool_choice=choice, model_options=options
        ).wait()
        assert [name for name, _ in asked.calls] == ["stop_now"]
        trace = next(e for e in engine.events if isinstance(e, protocol.Traced))
    assert trace.rows[0].raw.startswith("[TOOL_CALLS]")


def test_tools_go_where_calls_have_no_mark_to_forbid(model: Path) -> None:
    # Llama's calls are bare JSON, with which other answers begin too.
    options = protocol.ModelOptions(tool_dialect="llama")
    with running() as engine:
        auto, none, without = prompts(engine, model, model_options=options)
    assert none == without != auto


def test_a_dialect_that_is_not_known_or_not_told_of_is_refused(model: Path) -> None:
    with running() as engine:
        options = protocol.ModelOptions(tool_dialect="kimi_k3")
        untold = Asked(engine, model, "x", tools=TOOLS, model_options=options).wait()
        options = protocol.ModelOptions(tool_dialect="klingon")
        asked = Asked(engine, model, "y", model_options=options).wait()
    assert isinstance(untold.end, protocol.Failed)
    assert (untold.end.code, untold.end.param) == ("invalid_request", "tools")
    assert "Only a chat template can write the dialect kimi_k3" in untold.end.message
    assert isinstance(asked.end, protocol.Failed)
    assert asked.end.code == "model_load_failed"
    for name in ("klingon", "hermes", "mistral"):
        assert name in asked.end.message


def test_one_call_at_a_time_is_refused_where_it_cannot_be_enforced(tmp_path: Path) -> None:
    template = TEMPLATE + "{% if tools %}{{ tools | tojson }}{% endif %}"
    folder = qwen3(tmp_path / "m", template=template)
    options = protocol.ModelOptions(tool_dialect="muse_spark")
    with running() as engine:
        free, one = (
            Asked(
                engine,
                folder,
                f"parallel {parallel}",
                tools=TOOLS,
                tool_choice=protocol.ToolChoice(parallel=parallel),
                model_options=options,
            ).wait()
            for parallel in (True, False)
        )
    assert isinstance(free.end, protocol.Done), free.end
    assert isinstance(one.end, protocol.Failed)
    assert (one.end.code, one.end.param) == ("invalid_request", "parallel_tool_calls")
    assert "muse_spark" in one.end.message


def test_a_call_cut_off_ends_with_length(engine: EngineProcess, model: Path) -> None:
    choice = protocol.ToolChoice(mode="required", names=["move"])
    asked = Asked(
        engine, model, "cut", tools=TOOLS, tool_choice=choice, sampling={"max_tokens": 40}
    ).wait()
    assert asked.reason == "length"
    trace = next(e for e in engine.events if isinstance(e, protocol.Traced) and e.id == asked.id)
    assert trace.rows[0].problems or asked.calls == []


def test_formats_hold_beside_a_free_row_that_does_not_notice(
    engine: EngineProcess, model: Path
) -> None:
    greedy = {"temperature": 0.0, "max_tokens": 60, "ignore_eos": True}
    alone = everything(engine, Asked(engine, model, "free", sampling=greedy).wait().id)
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer"}, "ok": {"type": "boolean"}},
        "required": ["n", "ok"],
        "additionalProperties": False,
    }
    formats = [
        protocol.OutputFormat(kind="json_schema", value=schema),
        protocol.OutputFormat(kind="regex", value=r"[a-f]{3}-\d{2}"),
        protocol.OutputFormat(kind="choice", value=["yes", "no", "perhaps"]),
        protocol.OutputFormat(kind="json_object"),
    ]
    rows = [
        Asked(engine, model, f"format {f.kind}", output_format=f, sampling={"seed": 5})
        for f in formats
    ]
    free = Asked(engine, model, "free", sampling=greedy)
    for row in [*rows, free]:
        row.wait()
    assert everything(engine, free.id) == alone
    done = [row for row in rows if row.reason == "stop"]
    assert len(done) >= 3  # random weights may fill a JSON object for ever
    if rows[0] in done:
        value = json.loads(rows[0].content)
        assert isinstance(value["n"], int)
        assert isinstance(value["ok"], bool)
    assert re.fullmatch(r"[a-f]{3}-\d{2}", rows[1].content)
    assert rows[2].content in ("yes", "no", "perhaps")


def test_a_schema_that_cannot_be_enforced_is_named(engine: EngineProcess, model: Path) -> None:
    schema = {"type": "object", "properties": {"x": {"type": "array", "contains": {"const": 1}}}}
    output = protocol.OutputFormat(kind="json_schema", value=schema)
    asked = Asked(engine, model, "contains", output_format=output).wait()
    assert isinstance(asked.end, protocol.Failed)
    assert asked.end.param == "response_format"
    assert "contains" in asked.end.message


def test_a_result_without_its_call_is_named(engine: EngineProcess, model: Path) -> None:
    messages = [
        {"role": "user", "content": "hi"},
        {"role": "tool", "tool_call_id": "call_lost", "content": "42"},
    ]
    asked = Asked(engine, model, "lost", messages=messages).wait()
    assert isinstance(asked.end, protocol.Failed)
    assert "call_lost" in asked.end.message


def test_a_thinking_budget_ends_the_thinking_and_the_answer_follows(
    engine: EngineProcess, model: Path
) -> None:
    text = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n<think>\n"
    command = protocol.Generate(
        id="budget",
        model="random",
        path=str(model),
        prompt=protocol.ChatPrompt(
            messages=[{"role": "user", "content": "hi"}], template_kwargs={"open_thinking": True}
        ),
        sampling=protocol.Sampling(temperature=0.0, max_tokens=60, ignore_eos=True),
        reasoning_budget=12,
        trace=True,
    )
    engine.send(command)
    (end,) = engine.finish("budget")
    assert isinstance(end, protocol.Done), end
    trace = next(e for e in engine.events if isinstance(e, protocol.Traced) and e.id == "budget")
    assert trace.prompt == text
    assert 12 <= end.usage.reasoning <= 30
    assert "</think>" in trace.rows[0].raw
    assert engine.text("budget")


def test_tokens_have_a_minimum(engine: EngineProcess, model: Path) -> None:
    end_id = 258
    sampling = {"temperature": 0.0, "min_tokens": 7, "logit_bias": {end_id: 100.0}}
    asked = Asked(engine, model, "least", sampling=sampling).wait()
    assert isinstance(asked.end, protocol.Done)
    assert asked.end.usage.completion == 8
