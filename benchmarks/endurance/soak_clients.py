"""The clients of `benchmarks.soak`: the operations that each of them repeats."""

import asyncio
import base64
import json
import random
from collections.abc import Awaitable, Callable
from typing import Any, Self

import httpx
import openai

_TOOL = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Add two numbers.",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "required": ["a", "b"],
        },
    },
}
_SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
_MODEL = "soak"
_OTHER_MODEL = "tiny-vision"


def _nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"x": schema}}
    return schema


_ASK = {"model": _MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}
# (path, body): each is refused with a status between 400 and 413.
_BAD: list[tuple[str, bytes]] = [
    ("v1/chat/completions", b'{"messages": ['),
    ("v1/chat/completions", b'{"x": [' + b"1," * 200_000 + b'1], "y": 11111111111111111111}'),
    ("v1/chat/completions", json.dumps({**_ASK, "temperature": "hot"}).encode()),
    ("v1/chat/completions", json.dumps({**_ASK, "max_tokens": -1}).encode()),
    (
        "v1/chat/completions",
        json.dumps({**_ASK, "chat_template_kwargs": {"chat_template": "{{ 1 }}"}}).encode(),
    ),
    (
        "v1/chat/completions",
        json.dumps({**_ASK, "messages": [{"role": "user", "content": "long " * 400_000}]}).encode(),
    ),
    (
        "v1/chat/completions",
        json.dumps(
            {
                **_ASK,
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "deep", "schema": _nested(400)},
                },
            }
        ).encode(),
    ),
    ("v1/completions", json.dumps({"model": _MODEL, "prompt": "a", "regex": "a{500000}"}).encode()),
    ("detokenize", json.dumps({"model": _MODEL, "tokens": [3] * 1_000_000}).encode()),
    (
        "v1/chat/completions",
        json.dumps(
            {
                **_ASK,
                "model": _OTHER_MODEL,
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {
                                "type": "image_url",
                                "image_url": {
                                    "url": "data:image/jpeg;base64,"
                                    + base64.b64encode(b"\xff\xd8\xff" + bytes(999)).decode()
                                },
                            }
                        ],
                    }
                ],
            }
        ).encode(),
    ),
]


class Operation:
    """The operations of one client. Each returns "answered" or the code of the error.

    A context manager, which closes the client that it opens.
    """

    def __init__(self, client: httpx.AsyncClient, key: str, choose: random.Random) -> None:
        self.client, self.choose = client, choose
        self.sdk = openai.AsyncOpenAI(
            base_url=f"{client.base_url}v1",
            api_key=key,
            max_retries=0,
            timeout=None,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *problem: object) -> None:
        await self.sdk.close()

    def _messages(self) -> list[dict[str, str]]:
        words = "again and again " * self.choose.randint(1, 60)
        return [{"role": "user", "content": f"{self.choose.random()} {words}"}]

    async def chat(self) -> str:
        """Stream a chat through the official client."""
        try:
            stream = await self.sdk.chat.completions.create(
                model=_MODEL,
                messages=self._messages(),  # type: ignore[arg-type]
                max_tokens=self.choose.randint(1, 80),
                stream=True,
            )
            last = None
            async for chunk in stream:
                for choice in chunk.choices:
                    last = choice.finish_reason or last
            return "answered" if last else "ended without a finish_reason"
        except openai.APIConnectionError as error:
            return f"broke off: {error!r}"
        except openai.APIError as error:
            return _code(error)

    async def responses(self) -> str:
        """Create a stored response, read it back and delete it."""
        try:
            made = await self.sdk.responses.create(
                model=_MODEL, input="Hello", max_output_tokens=self.choose.randint(1, 40)
            )
            if made.error is not None:
                return str(made.error.code)
            if made.store:
                found = await self.sdk.responses.retrieve(made.id)
                await self.sdk.responses.delete(made.id)
                return "answered" if found.id == made.id else f"other response: {found.id}"
            return "answered"
        except openai.APIConnectionError as error:
            return f"broke off: {error!r}"
        except openai.APIError as error:
            return _code(error)

    async def messages(self) -> str:
        """Stream a message of Anthropic's API."""
        body = {"model": _MODEL, "messages": self._messages(), "max_tokens": 30, "stream": True}
        async with self.client.stream("POST", "v1/messages", json=body) as answer:
            if answer.status_code != 200:
                return _stated(json.loads(await answer.aread()))
            last: dict[str, Any] = {}
            async for line in answer.aiter_lines():
                if line.startswith("data: "):
                    last = json.loads(line[6:])
            if last.get("type") == "error":
                return _stated(last)
            return "answered" if last.get("type") == "message_stop" else f"broke off: {last}"

    async def tools(self) -> str:
        """Require a tool call, and read its arguments."""
        body = {
            "model": _MODEL,
            "messages": [{"role": "user", "content": "Add 17 and 25."}],
            "tools": [_TOOL],
            "tool_choice": "required",
            "max_tokens": 80,
        }
        answer = await self.client.post("v1/chat/completions", json=body)
        if answer.status_code != 200:
            return _stated(answer.json())
        (choice,) = answer.json()["choices"]
        if choice["finish_reason"] == "length":
            return "answered"
        json.loads(choice["message"]["tool_calls"][0]["function"]["arguments"])
        return "answered"

    async def schema(self) -> str:
        """Require a JSON object, and read it."""
        body = {
            "model": _MODEL,
            "messages": self._messages(),
            "max_tokens": 80,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "person", "schema": _SCHEMA, "strict": True},
            },
        }
        answer = await self.client.post("v1/chat/completions", json=body)
        if answer.status_code != 200:
            return _stated(answer.json())
        (choice,) = answer.json()["choices"]
        if choice["finish_reason"] == "stop":
            found = json.loads(choice["message"]["content"])
            if set(found) != {"name", "age"}:
                return f"not of the schema: {found}"
        return "answered"

    async def texts(self) -> str:
        """Tokenize, embed, or complete some prompts at a time."""
        text = "one two three " * self.choose.randint(1, 40)
        path, body = self.choose.choice(
            [
                ("tokenize", {"model": _MODEL, "content": text}),
                ("v1/embeddings", {"model": _MODEL, "input": [text, "two"]}),
                ("v1/completions", {"model": _MODEL, "prompt": [text, "b"], "max_tokens": 20}),
            ]
        )
        return await self._post(path, body)

    async def swaps(self) -> str:
        """Load the other model, send it a text, unload it."""
        order = {"model": _OTHER_MODEL}
        if (fate := await self._post("mlx/models/load", order)) != "answered":
            return fate
        ask = {**_ASK, "model": _OTHER_MODEL}
        if (fate := await self._post("v1/chat/completions", ask)) != "answered":
            return fate
        await asyncio.sleep(self.choose.random())
        return await self._post("mlx/models/unload", order)

    async def bad_bodies(self) -> str:
        """Send bodies that must be refused."""
        path, body = self.choose.choice(_BAD)
        headers = {"Content-Type": "application/json"}
        answer = await self.client.post(path, content=body, headers=headers)
        if answer.status_code >= 500:
            return _stated(answer.json())
        if not 400 <= answer.status_code <= 413:
            return f"status {answer.status_code} for {body[:120]!r}"
        await asyncio.sleep(0.5)
        return "answered" if answer.json()["error"]["message"] else "an error without a message"

    async def _post(self, path: str, body: dict[str, Any]) -> str:
        answer = await self.client.post(path, json=body)
        return "answered" if answer.status_code == 200 else _stated(answer.json())


def _code(error: openai.APIError) -> str:
    return str(error.code or getattr(error, "body", None) or error)


def _stated(body: dict[str, Any]) -> str:
    """Return the code of an error in OpenAI's or Anthropic's shape."""
    error = body.get("error") or {}
    return str(error.get("code") or error.get("type") or body)


CLIENTS: dict[str, Callable[[Operation], Awaitable[str]]] = {
    "chat": Operation.chat,
    "responses": Operation.responses,
    "messages": Operation.messages,
    "tools": Operation.tools,
    "schema": Operation.schema,
    "texts": Operation.texts,
    "swaps": Operation.swaps,
    "bad bodies": Operation.bad_bodies,
}
