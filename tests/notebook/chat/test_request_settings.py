"""Settings are parameters of the endpoint, with or without OpenAI's client."""

import inspect

import msgspec
import pytest
from openai.resources.chat.completions import AsyncCompletions

from mlx_notebook.notebook.chat.request_settings import LOCAL_SETTINGS, request_settings
from mlx_notebook.notebook.errors import NotebookError
from mlx_notebook.server.wire.openai.chat_request import ChatCompletionRequest

# `Chat.resume` sends them.
CONTINUATION = {"add_generation_prompt", "continue_final_message"}


def test_local_settings_are_those_of_the_server_that_openai_lacks():
    fields = {field.encode_name for field in msgspec.structs.fields(ChatCompletionRequest)}
    openai = set(inspect.signature(AsyncCompletions.create).parameters)
    assert fields - openai - CONTINUATION == LOCAL_SETTINGS


def test_what_openais_client_does_not_know_goes_into_the_body():
    assert request_settings({"seed": 1}, "Chat") == {"seed": 1}
    given = {"temperature": 1, "top_k": 2, "extra_body": {"other": 3}}
    assert request_settings(given, "Chat") == {
        "temperature": 1,
        "extra_body": {"top_k": 2, "other": 3},
    }
    assert given["extra_body"] == {"other": 3}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("temprature", "Chat has no setting 'temprature'. Did you mean 'temperature'?"),
        ("topk", "Chat has no setting 'topk'. Did you mean 'top_k'?"),
        ("stream", "Chat has no setting 'stream'."),
        ("continue_final_message", "Chat has no setting 'continue_final_message'."),
        (
            "xyz",
            "Chat has no setting 'xyz'. What another server knows goes into "
            'extra_body={"xyz": ...}.',
        ),
    ],
)
def test_a_mistake_is_told_in_one_sentence(name, told):
    with pytest.raises(NotebookError) as caught:
        request_settings({name: 0}, "Chat")
    assert str(caught.value) == told


def test_a_chat_takes_settings_of_the_server(kernel):
    kernel.run("from mlx_notebook import Chat\nchat = Chat('tiny-chat', min_tokens=9, top_k=1)")
    kernel.run("answer = chat.ask('Hello!', ignore_eos=True, max_tokens=9)")
    assert kernel.value("answer.completion_tokens") == 9
    assert kernel.value("chat.settings") == {"min_tokens": 9, "top_k": 1}
    cell = kernel.run("chat.ask('Hello!', temprature=0)", check=False)
    assert "Chat has no setting 'temprature'. Did you mean 'temperature'?" in cell.evalue
    assert len(cell.traceback) == 1
    assert kernel.value("len(chat.messages)") == 2
