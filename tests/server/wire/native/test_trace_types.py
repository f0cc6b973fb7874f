from typing import Any

from mlx_notebook.server.wire.native.trace_types import (
    Trace,
    TracedCall,
    TracedProblem,
    TracedSequence,
    TracedTimings,
)


def trace(messages: list[dict[str, Any]], prompt: str | list[int] | None = None) -> Trace:
    return Trace(
        id="r1",
        endpoint="v1/chat/completions",
        model="tiny",
        status="running",
        created=1.0,
        seconds=2.0,
        messages=messages,
        tools=[],
        options={},
        prompt=prompt,
        rows=[],
    )


def title(*messages: dict[str, Any], prompt: str | None = None) -> str:
    return trace(list(messages), prompt).summary().title


def test_the_title_is_the_beginning_of_the_last_user_message() -> None:
    first, last = {"role": "user", "content": "One"}, {"role": "user", "content": " Two\n\n three "}
    answer = {"role": "assistant", "content": "Four"}
    assert title(first, last, answer) == "Two three"
    assert len(title({"role": "user", "content": "long " * 100})) == 120


def test_the_title_of_a_text_completion_is_its_prompt() -> None:
    assert title(prompt="Once upon a time") == "Once upon a time"
    assert title() == ""


def test_images_and_sounds_in_the_title_have_a_placeholder() -> None:
    text, image = {"type": "text", "text": "Look:"}, {"type": "image", "media_type": "image/png"}
    parts = [text, image, {"type": "audio", "bytes": 9}]
    assert title({"role": "user", "content": parts}) == "Look: [image] [sound]"


def test_a_summary_lists_calls_and_counts_problems_over_all_sequences() -> None:
    full = trace([])
    full.rows = [
        TracedSequence(0, "", "", [TracedCall("c1", "a", "{}"), TracedCall("c2", "b", "{}")]),
        TracedSequence(
            1, "", "", [TracedCall("c3", "a", "{}")], problems=[TracedProblem("x", "y")]
        ),
    ]
    summary = full.summary()
    assert summary.calls == ["a", "b", "a"]
    assert summary.problems == 1
    assert summary.first_token is None
    full.timings = TracedTimings(0.1, 0.0, 0.2, 0.3, 0.4)
    assert full.summary().first_token == 0.3
