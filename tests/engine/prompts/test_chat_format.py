"""A chat format decides how a request's output is read and constrained."""

from pathlib import Path
from typing import Any

import pytest
from mlx_lm.utils import load_tokenizer

from mlx_notebook import demo_models
from mlx_notebook.engine.dialects.output_events import CallEnd, Content
from mlx_notebook.engine.errors import InvalidRequest, LoadFailed
from mlx_notebook.engine.grammar.constraints import BadWords, MinTokens
from mlx_notebook.engine.prompts.chat_format import ChatFormat
from mlx_notebook.protocol import ChatPrompt, Generate, OutputFormat, Sampling, ToolChoice

TINY = Path(demo_models.__file__).parent / "tiny-chat"
NOW: dict[str, Any] = {"type": "function", "function": {"name": "now", "parameters": {}}}
CALL = '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'


@pytest.fixture(scope="module")
def chat_format() -> ChatFormat:
    tokenizer = load_tokenizer(TINY)
    return ChatFormat(tokenizer, len(tokenizer._tokenizer))


def command(*tools: dict[str, Any], continues: bool = False, **options: Any) -> Generate:
    messages = [{"role": "user", "content": "Hi"}]
    if continues:
        messages.append({"role": "assistant", "content": "So"})
    prompt = ChatPrompt(messages=messages, tools=list(tools), continues=continues)
    return Generate(id="1", model="m", path="", prompt=prompt, **options)


def refused(chat_format: ChatFormat, asked: Generate) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        chat_format.plan(asked, False)
    return caught.value


def test_the_dialect_is_detected_from_the_template(chat_format: ChatFormat) -> None:
    assert chat_format.supports_tools
    assert chat_format.dialect.name == "hermes"


def test_an_unknown_dialect_in_the_settings_is_an_error_of_loading() -> None:
    with pytest.raises(LoadFailed, match=r"tool_dialect cannot be used.*Known are: "):
        ChatFormat(load_tokenizer(TINY), 100, dialect="klingon")


def test_a_request_without_tools_and_format_is_free(chat_format: ChatFormat) -> None:
    plan = chat_format.plan(command(), False)
    assert plan.constraint() is None
    reader = plan.reader()
    assert reader.feed(CALL) + reader.finish(cut=False) == [Content(CALL)]


def test_calls_of_declared_tools_are_read_and_constrained(chat_format: ChatFormat) -> None:
    plan = chat_format.plan(command(NOW), False)
    assert plan.grammar is not None
    reader = plan.reader()
    events = reader.feed(CALL) + reader.finish(cut=False)
    assert [event.call.name for event in events if isinstance(event, CallEnd)] == ["now"]


def test_each_row_has_a_constraint_of_its_own(chat_format: ChatFormat) -> None:
    plan = chat_format.plan(command(NOW), False)
    assert plan.constraint() is not plan.constraint()


def test_forbidden_calls_keep_the_tools_in_the_prompt(chat_format: ChatFormat) -> None:
    choice = ToolChoice(mode="none")
    asked = command(NOW, tool_choice=choice)
    assert chat_format.visible_prompt(asked.prompt, choice) is asked.prompt
    assert chat_format.plan(asked, False).grammar is chat_format.no_calls


def test_minimum_length_and_bad_words_are_constraints(chat_format: ChatFormat) -> None:
    plan = chat_format.plan(command(sampling=Sampling(min_tokens=3)), False)
    assert isinstance(plan.constraint(), MinTokens)
    plan = chat_format.plan(command(sampling=Sampling(bad_words=["no"])), False)
    assert isinstance(plan.constraint(), BadWords)


def test_a_tool_that_is_not_declared_cannot_be_chosen(chat_format: ChatFormat) -> None:
    choice = ToolChoice(mode="required", names=["later"])
    error = refused(chat_format, command(NOW, tool_choice=choice))
    assert error.message == "The tool 'later' is not in tools."
    assert error.param == "tools"


@pytest.mark.parametrize(
    ("sampling", "param"),
    [
        (Sampling(logit_bias={10**6: 1.0}), "logit_bias"),
        (Sampling(stop_token_ids=[-1]), "stop_token_ids"),
        (Sampling(allowed_token_ids=[10**6]), "allowed_token_ids"),
        (Sampling(bad_words=["ok", " "]), "bad_words[1]"),
    ],
)
def test_a_parameter_that_cannot_be_used_is_named(
    chat_format: ChatFormat, sampling: Sampling, param: str
) -> None:
    assert refused(chat_format, command(sampling=sampling)).param == param


def test_allowed_tokens_and_a_format_exclude_each_other(chat_format: ChatFormat) -> None:
    asked = command(
        output_format=OutputFormat(kind="json_object"), sampling=Sampling(allowed_token_ids=[5])
    )
    assert "cannot be used together" in refused(chat_format, asked).message


def test_a_continued_message_has_no_format(chat_format: ChatFormat) -> None:
    asked = command(continues=True, output_format=OutputFormat(kind="json_object"))
    assert refused(chat_format, asked).param == "continue_final_message"


def test_a_conversation_with_broken_results_is_refused(chat_format: ChatFormat) -> None:
    prompt = ChatPrompt(messages=[{"role": "tool", "tool_call_id": "x", "content": "1"}])
    with pytest.raises(InvalidRequest, match="answers no call before it"):
        chat_format.conversation(prompt)
