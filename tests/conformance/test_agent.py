"""In an agent's long conversation each request reuses the KV cache of the one before."""

import itertools
from typing import Any

import openai
import pytest

from tests.server.running import RunningServer

TURNS = 10
CITIES = ["Paris", "Oslo", "Rome", "Bern", "Riga", "Kyiv", "Baku", "Lima", "Doha", "Cairo"]
TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": f"Tell the {name} of a city.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"enum": CITIES}, "day": {"enum": ["today", "tomorrow"]}},
                "required": ["city", "day"],
                "additionalProperties": False,
            },
        },
    }
    for name in ("weather", "time", "population")
]


@pytest.mark.parametrize("reasoning", [False, True], ids=["plain", "reasoning"])
def test_the_cached_part_grows_with_every_request_of_ten_turns(
    server: RunningServer, reasoning: bool
) -> None:
    # The conversations differ from the first word on.
    messages: list[Any] = [{"role": "system", "content": f"You are agent {int(reasoning)}."}]
    counts: list[tuple[int, int]] = []
    with openai.OpenAI(base_url=server.openai_url, api_key=server.token, max_retries=0) as client:

        def ask(choice: Any) -> Any:
            answer = client.chat.completions.create(
                model="tiny-chat",
                messages=messages,
                tools=TOOLS,
                tool_choice=choice,
                parallel_tool_calls=False,
                temperature=0,
                max_completion_tokens=100,
                extra_body={
                    "chat_template_kwargs": {"enable_thinking": reasoning},
                    **({"thinking_budget": 6} if reasoning else {}),
                },
            )
            usage = answer.usage
            assert usage is not None
            assert usage.prompt_tokens_details is not None
            cached = usage.prompt_tokens_details.cached_tokens
            assert cached is not None
            counts.append((usage.prompt_tokens, cached))
            message = answer.choices[0].message
            messages.append(message.model_dump(exclude_none=True))
            return message

        for turn in range(TURNS):
            messages.append({"role": "user", "content": f"How is the weather in {CITIES[turn]}?"})
            # One call is certain. What the model does with its result is not tested.
            for choice in ("required", "auto"):
                for call in ask(choice).tool_calls or []:
                    result = f"{turn + 10} degrees"
                    messages.append({"role": "tool", "tool_call_id": call.id, "content": result})

    assert len(counts) == 2 * TURNS
    cached = [found for _, found in counts]
    assert cached == sorted(set(cached)), counts
    # The whole earlier prompt is cached, except for the few tokens that open the answer.
    for (read, _), (_, found) in itertools.pairwise(counts):
        assert found >= read - 8, counts
