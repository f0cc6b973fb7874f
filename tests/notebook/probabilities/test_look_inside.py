"""`look_inside`, `%mlx tokens` and `%mlx prompt` below a real server."""

import re

import pytest

from mlx_notebook.notebook.connection import connection
from mlx_notebook.notebook.errors import BadMagic, NotebookError
from mlx_notebook.notebook.probabilities.look_inside import look_inside
from tests.server.running import running

GREEDY = {"temperature": 0, "max_tokens": 8}


@pytest.fixture(scope="module")
def server():
    with running() as server:
        connection.connect(server.url, server.token)
        yield server
        connection.disconnect()


def test_an_answer_is_that_of_a_plain_request_with_its_probabilities(server):
    found = look_inside("Say hello.", alternatives=3, **GREEDY)
    messages = [{"role": "user", "content": "Say hello."}]
    plain = server.chat(messages=messages, **GREEDY).json()
    assert found.text == plain["choices"][0]["message"]["content"]
    assert "".join(token.text for token in found.tokens) == found.text
    assert len(found.prompt) == plain["usage"]["prompt_tokens"]
    for token in found.tokens:
        assert len(token.alternatives) == 3
        assert token.alternatives[0] == (token.text, pytest.approx(token.probability))
        assert 0 <= token.entropy <= 20


def test_the_cached_part_of_the_prompt_is_marked(server):
    look_inside("Say hello again.", **GREEDY)
    found = look_inside("Say hello again.", **GREEDY)
    cached = [token.is_cached for token in found.prompt]
    assert cached[0]
    assert not cached[-1]
    assert cached == sorted(cached, reverse=True)


def test_a_schema_forces_tokens(server):
    schema = {"type": "object", "properties": {"a": {"enum": ["yes", "no"]}}, "required": ["a"]}
    found = look_inside("Is water wet?", schema=schema, temperature=0)
    assert found.text.replace(" ", "") in ('{"a":"yes"}', '{"a":"no"}')
    assert any(token.forced for token in found.tokens)
    assert not all(token.forced for token in found.tokens)


def test_the_importance_of_a_part_is_what_its_absence_costs(server):
    found = look_inside("Be kind. Say blue. Be short.", importance=True, **GREEDY)
    assert [part.text for part in found.parts] == ["Be kind. ", "Say blue. ", "Be short."]
    most = max(found.parts, key=lambda part: part.importance)
    assert most.text == "Say blue. "
    assert most.importance > 0


def test_what_goes_wrong_is_told(server):
    with pytest.raises(NotebookError, match="top_logprobs"):
        look_inside("Hi", alternatives=50)
    with pytest.raises(ValueError, match="`system` is for a prompt that is a text"):
        look_inside([{"role": "user", "content": "Hi"}], system="Be kind.")
    with pytest.raises(ValueError, match="needs a user message that is a text"):
        look_inside([{"role": "system", "content": "Hi"}], importance=True, **GREEDY)


def test_the_magics_show_tokens_and_the_last_prompt(server, capsys):
    from mlx_notebook.notebook.chat.chat import Chat
    from mlx_notebook.notebook.magics.subcommands.commands import run

    chat = Chat(model="tiny-chat")
    run("tokens Hello there", chat)
    told = capsys.readouterr().out
    assert told.replace("|", "").startswith("Hello there")
    assert re.search(r"\d tokens$", told.strip())
    for line, said in (
        ("tokens", "needs a text"),
        ("prompt", "no answer"),
        ("prompt x", "takes no"),
    ):
        with pytest.raises(BadMagic, match=said):
            run(line, chat)
    chat.ask("Hello!", **GREEDY)
    run("prompt", chat)
    assert "Hello!" in capsys.readouterr().out.replace("|", "")


def test_the_attention_to_the_prompt_is_told_for_each_token(server):
    found = look_inside("Say hello.", attention=True, **GREEDY)
    attention = found.attention
    assert attention.layers == 6
    assert len(attention.mean) == len(found.prompt)
    assert 0 < sum(attention.mean) <= 1
    assert len(attention.tokens) >= len(found.tokens)
    for top in attention.tokens:
        weights = [weight for _, weight in top]
        assert len(top) == 10
        assert weights == sorted(weights, reverse=True)
        assert all(0 <= place < len(found.prompt) for place, _ in top)
    shown = found._repr_html_()
    assert "Attention to the prompt, the mean over 6 layers" in shown
    assert look_inside("Say hello.", **GREEDY).attention is None
