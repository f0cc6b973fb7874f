"""Two ways to answer cases: a server over HTTP, or mlx-vlm in this process."""

from __future__ import annotations

import base64
import copy
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from .cases import Case

Said = tuple[str, list[tuple[str, Any]]]  # text, and calls as (name, arguments)
MOST_TOKENS = 120
_CALL = re.compile(r"<tool_call>\s*(.*?)\s*</tool_call>", re.DOTALL)


class Answerer(Protocol):
    """An object that answers cases."""

    def answers(self, cases: Sequence[Case]) -> list[Said]:
        """Return the model's reply to each case, decoded greedily."""


def data_uri(pixels: Any) -> str:
    """Return an image as a PNG data URI."""
    held = io.BytesIO()
    Image.fromarray(pixels).save(held, "PNG")
    return "data:image/png;base64," + base64.b64encode(held.getvalue()).decode()


def openai_messages(case: Case) -> list[dict[str, Any]]:
    """Return the case's messages with the images as `image_url` parts."""
    messages = copy.deepcopy(case.messages)
    pictures = iter(case.pictures)
    for message in messages:
        if isinstance(message["content"], list):
            message["content"] = [
                {"type": "image_url", "image_url": {"url": data_uri(next(pictures))}}
                if part["type"] == "image"
                else part
                for part in message["content"]
            ]
    return messages


class OverHTTP:
    """Ask an OpenAI-compatible server, one request at a time."""

    def __init__(self, base_url: str, api_key: str, model: str) -> None:
        from openai import OpenAI

        self.client: Any = OpenAI(base_url=base_url, api_key=api_key)
        self.model = model

    def answers(self, cases: Sequence[Case]) -> list[Said]:
        """Return the replies; see `Answerer`."""
        return [self._one(case) for case in cases]

    def _one(self, case: Case) -> Said:
        extra = {"tools": case.tools} if case.tools else {}
        completion = self.client.chat.completions.create(
            model=self.model, messages=openai_messages(case), temperature=0,
            max_tokens=MOST_TOKENS, **extra,
        )  # fmt: skip
        message = completion.choices[0].message
        calls = [
            (call.function.name, _arguments(call.function.arguments))
            for call in message.tool_calls or []
        ]
        return message.content or "", calls


def _arguments(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text  # not an object, so it equals no expected arguments


class InProcess:
    """Run a model folder with mlx-vlm's batch generator, in float32."""

    def __init__(self, folder: Path, rows: int = 16) -> None:
        import mlx.core as mx
        from mlx_vlm import load

        self.model, self.processor = load(str(folder))
        self.model.set_dtype(mx.float32)
        self.rows = rows
        ends = json.loads((folder / "generation_config.json").read_text())["eos_token_id"]
        self.ends = set(ends)

    def answers(self, cases: Sequence[Case]) -> list[Said]:
        """Return the replies; see `Answerer`."""
        from mlx_vlm.generate.ar import BatchGenerator

        generator: Any = BatchGenerator(
            self.model.language_model, self.processor, stop_tokens=self.ends,
            prefill_batch_size=self.rows, completion_batch_size=self.rows,
            compute_logprobs=False, greedy_sampling=True,
        )  # fmt: skip
        tokens: dict[int, list[int]] = {}
        for case in cases:
            row, extra = self._prompt(case)
            (uid,) = generator.insert([row], MOST_TOKENS, prompt_kwargs=[extra])
            tokens[uid] = []
        while generator.has_work:
            _, responses = generator.next()
            for response in responses:
                if response.finish_reason != "stop":
                    tokens[response.uid].append(response.token)
        generator.close()
        decode = self.processor.tokenizer.decode
        return [parsed(decode(tokens[uid], skip_special_tokens=False)) for uid in sorted(tokens)]

    def _prompt(self, case: Case) -> tuple[list[int], dict[str, Any]]:
        """Return a case's tokens, and the other inputs of the language part."""
        text = self.processor.tokenizer.apply_chat_template(
            case.messages, tools=case.tools or None, tokenize=False, add_generation_prompt=True
        )
        images = [Image.fromarray(pixels) for pixels in case.pictures] or None
        inputs = self.processor(images=images, text=[text])
        grid = {k: v for k, v in inputs.items() if k == "image_grid_thw"}
        features = self.model.get_input_embeddings(
            inputs["input_ids"], inputs.get("pixel_values"), **grid
        )
        given = {k: v for k, v in features.to_dict().items() if v is not None}
        row: list[int] = inputs["input_ids"][0].tolist()
        return row, given


def parsed(text: str) -> Said:
    """Return the text outside tool calls, and the calls."""
    calls: list[tuple[str, Any]] = []
    for found in _CALL.findall(text):
        try:
            call = json.loads(found)
            calls.append((call["name"], call["arguments"]))
        except (ValueError, KeyError, TypeError):
            calls.append(("", found))  # a malformed call counts as a wrong call
    return _CALL.sub("", text).replace("<|im_end|>", "").strip(), calls
