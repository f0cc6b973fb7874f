"""The requirements of the Open Responses specification that OpenAI's client does not check.

Field names and types: https://www.openresponses.org/specification (version 2026-04-24).
"""

import base64
import io
import json
from typing import Any

import jsonschema
import pytest
from PIL import Image, ImageDraw

from tests.server.running import RunningServer

NUMBER, WHOLE, TEXT, FLAG = ({"type": t} for t in ("number", "integer", "string", "boolean"))


def some(kind: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [kind, {"type": "null"}]}


def all_of(**fields: Any) -> dict[str, Any]:
    """Return the schema of an object that has all of these fields."""
    return {"type": "object", "properties": fields, "required": list(fields)}


STATUS = {"enum": ["in_progress", "completed", "incomplete"]}
PART = all_of(type={"const": "output_text"}, text=TEXT, annotations={"type": "array"})
MESSAGE = all_of(
    type={"const": "message"}, id=TEXT, status=STATUS, role={"const": "assistant"},
    content={"type": "array", "items": PART},
)  # fmt: skip
CALL = all_of(
    type={"const": "function_call"}, id=TEXT, call_id=TEXT, name=TEXT, arguments=TEXT,
    status=STATUS,
)  # fmt: skip
THOUGHT = all_of(type={"const": "reasoning"}, id=TEXT, summary={"type": "array"})
TOOL = all_of(
    type={"const": "function"}, name=TEXT, description=some(TEXT),
    parameters=some({"type": "object"}), strict=some(FLAG),
)  # fmt: skip
USAGE = all_of(
    input_tokens=WHOLE, output_tokens=WHOLE, total_tokens=WHOLE,
    input_tokens_details=all_of(cached_tokens=WHOLE),
    output_tokens_details=all_of(reasoning_tokens=WHOLE),
)  # fmt: skip
RESPONSE = all_of(
    id=TEXT, object={"const": "response"}, created_at=WHOLE, completed_at=some(WHOLE),
    status=TEXT, incomplete_details=some(all_of(reason=TEXT)), model=TEXT,
    previous_response_id=some(TEXT), instructions=some(TEXT),
    output={"type": "array", "items": {"anyOf": [MESSAGE, CALL, THOUGHT]}},
    error=some(all_of(code=TEXT, message=TEXT)), tools={"type": "array", "items": TOOL},
    tool_choice={"type": ["string", "object"]}, truncation={"enum": ["auto", "disabled"]},
    parallel_tool_calls=FLAG, text=all_of(format=all_of(type=TEXT)), top_p=NUMBER,
    presence_penalty=NUMBER, frequency_penalty=NUMBER, top_logprobs=WHOLE, temperature=NUMBER,
    reasoning=some(all_of(effort=some(TEXT), summary=some(TEXT))), user=some(TEXT),
    usage=some(USAGE), max_output_tokens=some(WHOLE), max_tool_calls=some(WHOLE), store=FLAG,
    background=FLAG, service_tier=TEXT, metadata={"type": "object"},
    safety_identifier=some(TEXT), prompt_cache_key=some(TEXT),
)  # fmt: skip

WEATHER = {
    "type": "function",
    "name": "get_weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}


def red_circle() -> str:
    buffer = io.BytesIO()
    image = Image.new("RGB", (64, 64), "white")
    ImageDraw.Draw(image).ellipse((12, 12, 52, 52), fill="red")
    image.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def user(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"type": "message", "role": "user", "content": list(parts)}]


def words(text: str) -> dict[str, Any]:
    return {"type": "input_text", "text": text}


ASKED: dict[str, dict[str, Any]] = {
    "words": {"input": user(words("Who are you?"))},
    "with a system message": {
        "input": [
            {"type": "message", "role": "system", "content": "You are kind."},
            {"type": "message", "role": "user", "content": "Hello"},
        ]
    },
    "with what was said before": {
        "input": [
            {"type": "message", "role": "user", "content": "My name is Ada."},
            {"type": "message", "role": "assistant", "content": "Hello Ada."},
            {"type": "message", "role": "user", "content": "What is my name?"},
        ]
    },
    "a tool": {"input": user(words("What is the weather in Oslo?")), "tools": [WEATHER]},
    "an image": {
        "model": "tiny-vision",
        "input": user(
            words("What colour is the circle?"),
            {"type": "input_image", "image_url": red_circle()},
        ),
    },
    "thinking": {"input": "Who are you?", "reasoning": {"effort": "high"}},
}


@pytest.mark.parametrize("asked", ASKED)
def test_a_response_has_every_field(server: RunningServer, asked: str) -> None:
    body = {"model": "tiny-chat", **ASKED[asked]}
    whole = server.client.post("v1/responses", json=body).json()
    events = []
    with server.client.stream("POST", "v1/responses", json={**body, "stream": True}) as lines:
        for line in lines.iter_lines():
            if line.startswith("data: {"):
                events.append(json.loads(line.removeprefix("data: ")))
    told = [event["response"] for event in events if "response" in event]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [response["status"] for response in told] == ["in_progress", "in_progress", "completed"]
    for response in (whole, *told):
        jsonschema.validate(response, RESPONSE)
    kinds = [item["type"] for item in whole["output"]]
    expected = {"a tool": ["function_call"], "thinking": ["reasoning", "message"]}
    assert kinds == expected.get(asked, ["message"])


def test_a_response_has_the_settings_in_use(server: RunningServer) -> None:
    def told(**changes: float) -> list[float]:
        names = ("temperature", "top_p", "presence_penalty", "frequency_penalty")
        body = {"model": "tiny-chat", "input": "Hello", "max_output_tokens": 1, **changes}
        response = server.client.post("v1/responses", json=body).json()
        return [response[name] for name in names]

    assert told() == [0, 1, 0, 0]  # tiny-chat's generation_config.json turns sampling off
    try:
        settings = {"temperature": 0.3, "top_p": 0.8}
        server.client.put("mlx/models/tiny-chat/settings", json=settings).raise_for_status()
        assert told() == [0.3, 0.8, 0, 0]
    finally:
        server.client.put("mlx/models/tiny-chat/settings", json={}).raise_for_status()
    asked = {"temperature": 0.5, "top_p": 0.9, "presence_penalty": 1, "frequency_penalty": -1}
    assert told(**asked) == list(asked.values())
