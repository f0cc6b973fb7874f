"""An answer grows by the chunks of a stream."""

from openai.types.chat import ChatCompletionChunk

from mlx_notebook.notebook.answers.answer import Answer, Reply


def chunk(delta=None, usage=None, finish_reason=None):
    choices = (
        [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish_reason}]
    )
    return ChatCompletionChunk.model_validate(
        {
            "id": "1",
            "object": "chat.completion.chunk",
            "created": 0,
            "model": "m",
            "choices": choices,
            "usage": usage,
        }
    )


def piece(index, **function):
    return {"index": index, "id": f"call_{index}", "function": function}


def test_reasoning_and_text_are_kept_apart():
    reply = Reply()
    deltas = reply.take(chunk({"reasoning_content": "Hm."})) + reply.take(
        chunk({"content": "Yes."})
    )
    assert [(delta.kind, delta.text) for delta in deltas] == [
        ("reasoning", "Hm."),
        ("content", "Yes."),
    ]
    assert reply.message == {"role": "assistant", "content": "Yes.", "reasoning_content": "Hm."}


def test_tool_calls_are_put_together_from_their_pieces():
    reply = Reply()
    for pieces in (
        [piece(0, name="add", arguments='{"a": ')],
        [piece(1, name="sub", arguments="[")],
        [piece(0, arguments="1}")],
    ):
        deltas = reply.take(chunk({"tool_calls": pieces}))
        assert [delta.kind for delta in deltas] == ["writing"]
    assert reply.calls == []
    reply.complete()
    assert [(call.name, call.arguments, call.state) for call in reply.calls] == [
        ("add", {"a": 1}, "waiting"),
        ("sub", None, "waiting"),
    ]
    assert reply.message["tool_calls"][1]["function"] == {"name": "sub", "arguments": "["}


def test_a_chunk_with_usage_alone_brings_only_the_counts():
    reply = Reply()
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    assert reply.take(chunk(usage={**usage, "prompt_tokens_details": {"cached_tokens": 3}})) == []
    assert (reply.prompt_tokens, reply.cached_tokens, reply.completion_tokens) == (5, 3, 2)
    assert reply.first_token is None


def test_an_answer_adds_up_its_replies_and_its_text_is_the_last_one():
    first, last = Reply(prompt_tokens=5, completion_tokens=3), Reply(prompt_tokens=9)
    first.take(chunk({"content": "Let me see."}))
    last.take(chunk({"content": "42."}, finish_reason="length"))
    answer = Answer("m", outcome="complete", replies=[first, last])
    assert (answer.text, str(answer), answer.finish_reason) == ("42.", "42.", "length")
    assert (answer.prompt_tokens, answer.completion_tokens, answer.cached_tokens) == (14, 3, None)
    assert answer.summary().endswith("cut off at the token limit")


def test_the_speed_is_that_after_the_first_token_and_unknown_for_short_answers():
    slow = Reply(completion_tokens=11, first_token=1.0, last_token=3.0)
    assert Answer("m", replies=[slow]).tokens_per_second == 5
    short = Reply(completion_tokens=11, first_token=1.0, last_token=1.01)
    assert Answer("m", replies=[short]).tokens_per_second is None
    assert Answer("m").tokens_per_second is None
