"""Commands survive the way from server to engine, and leave out their defaults."""

import msgspec
import pytest

from mlx_notebook import protocol

COMMANDS: list[protocol.Command] = [
    protocol.Generate(
        id="1",
        model="m",
        path="/m",
        prompt=protocol.ChatPrompt(
            messages=[{"role": "user", "content": [{"type": "image"}]}],
            images=[protocol.EncodedImage(data=b"\x89PNG", where="messages[0].content[0]")],
        ),
        sampling=protocol.Sampling(temperature=0.5, stop=["\n"], logit_bias={3: -1.0}),
        tool_choice=protocol.ToolChoice(mode="required", names=["f"]),
        output_format=protocol.OutputFormat(kind="choice", value=["a", "b"]),
        reasoning_budget=7,
    ),
    protocol.Tokenize(id="2", model="m", path="/m", prompt=protocol.TextPrompt(text=[1, 2])),
    protocol.Rerank(id="4", model="m", path="/m", query="q", documents=["a"], truncate=False),
    protocol.Embed(id="3", model="m", path="/m", inputs=["a", [1]], dimensions=4),
    protocol.Load(id="4", model="m", path="/m", options=protocol.ModelOptions(kv_bits=8), pin=True),
    protocol.Cancel("5"),
    protocol.Unload(id="6", model="m"),
    protocol.Pin(id="7", model="m", pinned=False),
    protocol.Touch("m"),
    protocol.Configure(idle_unload_minutes=2.5),
    protocol.Shutdown(),
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: type(command).__name__)
def test_a_command_is_decoded_as_it_was_sent(command: protocol.Command) -> None:
    sent = msgspec.msgpack.encode(command)
    assert msgspec.msgpack.decode(sent, type=protocol.Command) == command


def test_defaults_are_not_sent() -> None:
    prompt = protocol.TextPrompt(text="hi")
    sent = msgspec.to_builtins(protocol.Generate(id="1", model="m", path="/m", prompt=prompt))
    assert sent.keys() == {"type", "id", "model", "path", "prompt"}
