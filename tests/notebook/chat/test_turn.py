"""A turn says what to send and what to call, and adds what is final to the conversation."""

import pytest
from openai.types.chat import ChatCompletionChunk

from mlx_notebook.notebook.answers.answer import Answer
from mlx_notebook.notebook.chat.chat import Chat
from mlx_notebook.notebook.chat.turn import Turn, to_openai_messages
from mlx_notebook.notebook.errors import EngineFailed, Interrupted, Pause

PROMPT = {"role": "user", "content": "What is 17 plus 25?"}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


def chunk(**delta):
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    fields = {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "m"}
    return ChatCompletionChunk.model_validate({**fields, "choices": [choice]})


def call_chunk(number=0):
    function = {"name": "add", "arguments": '{"a": 17, "b": 25}'}
    return chunk(tool_calls=[{"index": 0, "id": f"call_{number}", "function": function}])


def turn_of(chat, prompt=PROMPT, **settings):
    return Turn(chat, prompt, Answer("m"), settings)


def reply(turn, *chunks):
    request = turn.request(accepts_images=False)
    for one in chunks:
        turn.take(one)
    turn.finish_reply()
    return request


def answer_calls(turn):
    for call in turn.calls:
        call.state, call.content = "done", "42"
    turn.collect_results()


def break_off(turn, error):
    """End a turn with an error while the model writes a call."""
    with turn.ending():
        turn.request(accepts_images=False)
        turn.take(chunk(content="Let me"))
        turn.take(call_chunk())
        raise error


def test_a_plain_answer_is_one_request():
    chat = Chat("m", system="Be brief.")
    turn = turn_of(chat, temperature=0)
    with turn.ending():
        request = reply(turn, chunk(content="42."))
    assert request["messages"] == [{"role": "system", "content": "Be brief."}, PROMPT]
    assert (request["temperature"], request["stream"]) == (0, True)
    assert (turn.needs_reply, turn.calls, turn.answer.outcome) == (False, [], "complete")
    assert chat.messages == [PROMPT, {"role": "assistant", "content": "42."}]
    assert chat.usage.requests == 1


def test_a_tool_call_asks_for_its_result_and_another_reply():
    chat = Chat("m")
    turn = turn_of(chat, tool_choice="required")
    with turn.ending():
        assert reply(turn, call_chunk())["tool_choice"] == "required"
        assert ([call.name for call in turn.calls], turn.needs_reply) == (["add"], True)
        answer_calls(turn)
        # A choice that requires a call would require one after each result.
        request = reply(turn, chunk(content="42."))
    assert request["tool_choice"] == "auto"
    assert [message["role"] for message in chat.messages] == [
        "user", "assistant", "tool", "assistant",
    ]  # fmt: skip


def test_a_turn_with_too_many_requests_pauses_before_its_calls_and_is_resumed():
    chat = Chat("m", max_steps=1)
    turn = turn_of(chat)
    with turn.ending():
        reply(turn, call_chunk())
    assert turn.answer.outcome == "paused"
    assert turn.answer.note == "a turn may ask the model 1 time (max_steps)"
    assert chat.unfinished
    resumed = turn_of(chat, prompt=None)
    assert [call.id for call in resumed.calls] == ["call_0"]
    with resumed.ending():
        answer_calls(resumed)
        reply(resumed, chunk(content="42."))
    assert not chat.unfinished
    assert [call.content for call in resumed.answer.calls] == ["42"]


def test_a_new_prompt_answers_the_calls_that_were_not_made():
    chat = Chat("m", max_steps=1)
    turn = turn_of(chat)
    with turn.ending():
        reply(turn, call_chunk())
    request = turn_of(chat, {"role": "user", "content": "Hello"}).request(accepts_images=False)
    assert [m["role"] for m in request["messages"]] == ["user", "assistant", "tool", "user"]
    assert request["messages"][2]["content"].startswith("The call was not made")


def test_an_interrupt_keeps_the_text_so_far_and_no_half_call():
    chat = Chat("m")
    turn = turn_of(chat)
    with pytest.raises(Interrupted, match="the answer so far is kept"):
        break_off(turn, KeyboardInterrupt())
    assert turn.answer.outcome == "interrupted"
    assert chat.messages[-1] == {"role": "assistant", "content": "Let me"}


def test_an_error_leaves_the_conversation_as_it_was():
    chat = Chat("m")
    turn = turn_of(chat)
    with pytest.raises(ValueError, match="lost"):
        break_off(turn, ValueError("lost"))
    assert (chat.messages, turn.answer.outcome) == ([], "failed")


def test_a_pause_keeps_the_results_so_far():
    chat = Chat("m")
    turn = turn_of(chat)
    with turn.ending():
        reply(turn, call_chunk())
        turn.calls[0].state, turn.calls[0].content = "done", "42"
        raise Pause("enough")
    assert (turn.answer.outcome, turn.answer.note) == ("paused", "enough")
    assert chat.messages[-1]["content"] == "42"


def test_a_chunk_that_is_none_is_one_sentence():
    turn = turn_of(Chat("m"))
    turn.request(accepts_images=False)
    with pytest.raises(EngineFailed, match="an answer that cannot be read"):
        turn.take(None)


def test_images_of_tools_follow_the_results_for_a_model_that_accepts_them():
    results = [
        {"role": "tool", "tool_call_id": name, "content": [{"type": "text", "text": name}, IMAGE]}
        for name in ("a", "b")
    ]
    sent = to_openai_messages([*results, PROMPT], True)
    assert [message["role"] for message in sent] == ["tool", "tool", "user", "user"]
    assert [message["content"] for message in sent[:2]] == ["a\n[image]", "b\n[image]"]
    title, *images = sent[2]["content"]
    assert title["text"] == "The images, in order, from the tool calls above:"
    assert images == [IMAGE, IMAGE]
    assert to_openai_messages(results, False) == sent[:2]
