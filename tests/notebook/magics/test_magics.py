"""Cells below a real Jupyter server, answered by the embedded model."""

import random
import re

import pytest

from tests.notebook.jupyter import wait_for

CONVERSATION = "get_ipython().magics_manager.registry['MlxMagics'].conversation"


@pytest.fixture(autouse=True)
def fresh_conversation(kernel):
    kernel.run(
        f"%mlx reset\n{CONVERSATION}.settings.clear()\n"
        f"{CONVERSATION}.model = {CONVERSATION}.system = None"
    )


def long_answers(kernel):
    """From now on the model talks until it is stopped."""
    kernel.run(
        f"{CONVERSATION}.settings.update(max_tokens=3500, extra_body={{'ignore_eos': True}})"
    )


def test_loading_says_in_one_line_which_server_and_which_model(kernel, server):
    said = kernel.loaded.stdout
    assert said.count("\n") == 1
    assert f"connected to {server.url} (this Jupyter server); model tiny-chat" in said
    assert "a small demonstration; for a real one run `%mlx load mlx-community/" in said
    assert server.token not in said


def test_an_answer_ends_as_static_markdown_with_its_figures(kernel):
    long_answers(kernel)
    cell = kernel.run("%%chat -t 0 --max-tokens 100\nHello!")
    answer, summary = cell.outputs
    assert set(answer) == set(summary) == {"text/markdown", "text/plain"}
    assert kernel.value(f"{CONVERSATION}.last.text") == answer["text/plain"]
    assert re.fullmatch(
        r"<small>tiny-chat · 100 tokens · \d+ tokens/s · first token after [\d.]+ s(: [^·]*)?"
        r"( · .* cached)? · cut off at the token limit</small>",
        summary["text/markdown"],
    )
    assert cell.stdout == cell.stderr == ""


def test_text_streams_at_most_ten_times_a_second(kernel):
    long_answers(kernel)
    cell = kernel.run("%%chat --max-tokens 200\nTalk!")
    assert 3 < cell.updates < 4 + 2 * cell.seconds / 0.1


def test_the_conversation_goes_on_until_reset(kernel):
    kernel.run("%%chat -t 0 -s 'Be brief.' --max-tokens 30\nMy name is Ada.")
    first = kernel.value(f"{CONVERSATION}.last.prompt_tokens")
    kernel.run("%chat -t 0 --max-tokens 30 What is my name?")
    roles = kernel.value(f"[m['role'] for m in {CONVERSATION}.messages]")
    assert roles == ["user", "assistant", "user", "assistant"]
    assert kernel.value(f"{CONVERSATION}.last.prompt_tokens") > first
    assert kernel.value(f"{CONVERSATION}.last.cached_tokens") > first // 2
    assert kernel.value(f"{CONVERSATION}.system") == "Be brief."
    assert "New conversation" in kernel.run("%mlx reset").stdout
    assert kernel.value(f"[{CONVERSATION}.messages, {CONVERSATION}.system]") == [[], None]


def test_a_new_conversation_and_an_empty_option_take_the_system_message_away(kernel):
    sent = "__import__('mlx_notebook').connect()"
    kernel.run("%%chat -s 'Be brief.' --max-tokens 3\nHello!")
    for line in ("--new", "-s ''", '--system ""'):
        kernel.run(f"%%chat {line} --max-tokens 3\nHello!")
        assert kernel.value(f"{CONVERSATION}.system") is None
        newest = kernel.value(f"{sent}.get('mlx/traces')['data'][0]['id']")
        messages = kernel.value(f"{sent}.get('mlx/traces/{newest}')['messages']")
        assert "system" not in [message["role"] for message in messages]
        kernel.run("%%chat -s 'Be brief.' --max-tokens 3\nHello!")


def test_raw_output_leaves_out_control_sequences(kernel):
    cell = kernel.run("%%chat --raw -t 0 --max-tokens 20\nHello!")
    assert cell.stdout == kernel.value(f"{CONVERSATION}.last.text") + "\n"
    kernel.run("%%chat --raw --keep-control -t 0 --max-tokens 20\nHello!")


def test_names_are_filled_in_and_single_braces_left(kernel):
    kernel.run("city = 'Paris'; n = {'a': 1}")
    kernel.run('%%chat --max-tokens 3\nf"{city}" in {{ city }}: {{ n["a"] + 1 }} {x}')
    assert kernel.value(f"{CONVERSATION}.messages[0]['content']") == 'f"{city}" in Paris: 2 {x}'
    kernel.run("%chat --max-tokens 3 the {city} of {{city}} costs $n")
    assert kernel.value(f"{CONVERSATION}.messages[2]['content']") == "the {city} of Paris costs $n"


def test_the_model_can_be_an_expression(kernel):
    kernel.run("which = 'tiny'\n%mlx load {{ which }}-chat")
    cell = kernel.run("%%chat -m {{ which + '-chat' }} --max-tokens 3\nHello!")
    assert cell.outputs[-1]["text/plain"].startswith("tiny-chat · 3 tokens")


def test_a_question_on_one_line_is_not_taken_for_a_wish_for_help(kernel):
    kernel.run("if True:\n    %chat --max-tokens 3 Isn't that a `city`?")
    assert kernel.value(f"{CONVERSATION}.messages[0]['content']") == "Isn't that a `city`?"
    assert "--max-tokens" in kernel.run("%chat?").shown_help


def test_the_answer_goes_to_a_variable(kernel):
    cell = kernel.run("%%chat --var answer --max-tokens 20\nHello!")
    assert kernel.value("answer") == cell.outputs[0]["text/plain"]


def test_a_seed_repeats_a_random_answer(kernel):
    texts = []
    for _ in range(2):
        kernel.run("%mlx reset")
        kernel.run("%%chat -t 1 --seed 5 --max-tokens 30 --var answer\nTell me a story.")
        texts.append(kernel.value("answer"))
    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    ("code", "name", "said"),
    [
        ("%%chat -m no-such-model\nHello", "ModelNotFound", "There is no model 'no-such-model'"),
        ("%%chat --hot 1\nHello", "BadMagic", "Unknown option --hot."),
        ("%%chat -t 9\nHello", "BadMagic", "temperature must be between 0 and 2; you gave 9"),
        ("%%chat --image nope\nHello", "BadMagic", "'nope' is neither a variable nor a file"),
        ("%%chat\n{{ nothing }}", "UnfilledTemplate", "NameError: name 'nothing'"),
        ("%%chat -m x -s {{ nothing }}\nHello", "UnfilledTemplate", "NameError"),
        ("%%chat\n  ", "BadMagic", "The prompt is empty"),
        ("%mlx dance", "BadMagic", "no subcommand 'dance'"),
        ("%mlx load no-such-model", "ModelNotFound", "no-such-model"),
        ("%mlx load some/model", "DownloadFailed", "HF_HUB_OFFLINE is set"),
        ("%mlx load", "BadMagic", "needs a model's name"),
        ("%%chat\n{{ 'word ' * 9000 }}", "ContextTooLong", "%mlx reset"),
    ],
)
def test_what_goes_wrong_is_one_sentence(kernel, code, name, said):
    cell = kernel.run(code, check=False)
    assert (cell.status, cell.ename) == ("error", name), cell.evalue
    assert said in cell.evalue
    assert cell.traceback == [f"{name}: {cell.evalue}"]
    assert kernel.value(f"[c.messages or c.model for c in [{CONVERSATION}]]") == [None]


def test_interrupts_at_any_moment_stop_the_server_and_keep_what_was_said(kernel, server):
    long_answers(kernel)
    rng = random.Random(7)
    kept = 0
    for moment in [0.02, 0.1, *(rng.uniform(0.05, 4.0) for _ in range(3)), 4.0]:
        kernel.run("%mlx reset")
        cell = kernel.run("%%chat\nTalk!", interrupt_after=moment, check=False)
        wait_for(lambda: not server.status()["requests"], 20, "the server to stop generating")
        messages = kernel.value(f"{CONVERSATION}.messages")
        if cell.ename == "KeyboardInterrupt" and not cell.outputs:
            assert messages == []  # it struck in IPython, before it had called the magic
            continue
        assert (cell.status, cell.ename) == ("error", "Interrupted"), (moment, cell)
        assert len(cell.traceback) == 1
        if messages:
            kept += 1
            assert messages[1]["content"] == cell.outputs[0]["text/plain"]
            assert cell.outputs[1]["text/plain"].endswith("interrupted")
    assert kept
    kernel.run("%%chat --max-tokens 5\nAnd now?")


def test_leaving_a_stream_early_stops_the_server(kernel, server):
    kernel.run(
        "from mlx_notebook import Chat\n"
        "chat = Chat(max_tokens=3500, extra_body={'ignore_eos': True})\n"
        "for number, delta in enumerate(chat.stream('Talk!')):\n"
        "    if number == 5:\n"
        "        break"
    )
    wait_for(lambda: not server.status()["requests"], 3, "the server to stop generating")
    assert kernel.value("chat.last.outcome") == "interrupted"


def test_several_answers_in_one_cell_stand_below_each_other(kernel):
    cell = kernel.run(
        "from mlx_notebook import Chat\nchat = Chat(max_tokens=5)\nprint('before')\n"
        "for name in 'ab':\n    _ = chat.ask(name, show=True)"
    )
    assert cell.stdout == "before\n"
    assert len(cell.outputs) == 4


def test_the_server_can_be_asked_and_steered(kernel, server):
    kernel.run("%mlx load tiny-chat")
    status = kernel.run("%mlx status").stdout
    assert "engine: running on the " in status
    assert "in memory: tiny-chat, " in status
    assert server.token not in status
    (table,) = kernel.run("%mlx models").outputs
    assert re.search(
        r"^tiny-chat +in memory .* answers here; server default; demonstration$",
        table["text/plain"],
        re.MULTILINE,
    )
    assert "are free again" in kernel.run("%mlx unload tiny-chat").stdout
    # The server is shared with other files, whose models may be in memory.
    assert "tiny-chat" not in [model["id"] for model in server.status()["models"]]
    loaded = kernel.run("%mlx load tiny-chat").said
    assert re.match(r"tiny-chat is loaded \(in [\d.]+ s\): [\d.]+ MB, context of", loaded)
    assert "%mlx reset" in kernel.run("%mlx").stdout


def test_tab_completes_subcommands_and_models(kernel):
    assert "status" in kernel.complete("%mlx st")
    assert "tiny-chat" in kernel.complete("%mlx load ti")


def test_official_clients_come_configured(kernel):
    kernel.run(
        "import mlx_notebook\n"
        "ask = dict(model='tiny-chat', max_tokens=5, "
        "messages=[dict(role='user', content='Hello')])\n"
        "one = mlx_notebook.client().chat.completions.create(**ask)\n"
        "two = await mlx_notebook.async_client().chat.completions.create(**ask)"
    )
    assert kernel.value("[type(x).__name__ for x in (one, two)]") == ["ChatCompletion"] * 2
    assert kernel.value("one.usage.completion_tokens") <= 5


def test_no_mlx_comes_into_the_kernel(kernel):
    loaded = kernel.value(
        "[m for m in ('mlx', 'mlx_lm', 'transformers', 'numpy', 'torch', 'huggingface_hub') "
        "if m in __import__('sys').modules]"
    )
    assert loaded == []


def test_the_extension_can_be_taken_away_and_loaded_again(kernel):
    kernel.run("%unload_ext mlx_notebook")
    assert "not found" in kernel.run("%mlx status", check=False).stderr
    assert "connected" in kernel.run("%load_ext mlx_notebook").stdout
