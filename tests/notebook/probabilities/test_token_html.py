"""Tokens as HTML: nothing that a model wrote becomes live, and all is told in words too."""

import re

import pytest

from mlx_notebook.notebook.probabilities.look_inside import split
from mlx_notebook.notebook.probabilities.scored_answer import ScoredAnswer
from mlx_notebook.notebook.probabilities.scored_tokens import PromptPart, PromptToken, ScoredToken
from mlx_notebook.notebook.probabilities.token_html import prompt_html

EVIL = '"><img src=x onerror=alert(1)>$$x$$'


def entry(**changes):
    top = [{"token": "a", "logprob": -0.6931472}, {"token": "b", "logprob": -0.6931472}]
    return {"token": "a", "logprob": -0.6931472, "top_logprobs": top, **changes}


def answer(*tokens, **changes):
    text = "".join(token.text for token in tokens)
    return ScoredAnswer("tiny", text, list(tokens), **changes)


def test_a_token_is_read_in_probabilities_and_bits():
    token = ScoredToken.of(entry(entropy=0.6931472, forced=True))
    assert token.probability == pytest.approx(0.5)
    assert token.entropy == pytest.approx(1)
    assert token.forced
    assert token.alternatives[1] == ("b", pytest.approx(0.5))
    assert ScoredToken.of(entry()).entropy is None


def test_forced_tokens_do_not_count_in_the_perplexity():
    free, forced = ScoredToken("a", 0.25), ScoredToken("{", 1e-9, forced=True)
    assert answer(free, forced, free).perplexity == pytest.approx(4)
    assert answer(forced).perplexity != answer(forced).perplexity  # not a number
    assert answer(ScoredToken("a", 0.0)).perplexity > 1e300
    assert "1 forced" in answer(free, forced).summary


def test_plain_text_marks_what_was_unlikely():
    told = repr(answer(ScoredToken("Hi", 0.9), ScoredToken(" you", 0.2)))
    assert told.splitlines()[0] == "Hi you[20%]"


def test_what_a_model_wrote_is_not_live_in_html():
    token = ScoredToken(EVIL, 0.5, ((EVIL, 0.5),), 1.0)
    prompt, parts = [PromptToken(1, EVIL, True)], [PromptPart(EVIL, 1.0)]
    html = answer(token, prompt=prompt, parts=parts)._repr_html_()
    assert "<img" not in html
    assert "$$" not in html
    for attribute in re.findall(r'title="([^"]*)"', html):
        assert not set("<>$\\") & set(attribute)


def test_all_is_in_a_table_too():
    token = ScoredToken(" a", 0.25, ((" b", 0.5), (" a", 0.25)), 1.5, forced=False)
    html = answer(token, ScoredToken("\n", 1.0, forced=True))._repr_html_()
    (table,) = re.findall(
        r"<summary>Table of 2 tokens</summary><table>(.*?)</table>", html, re.DOTALL
    )
    cells = re.findall(r"<td[^>]*>(.*?)</td>", table, re.DOTALL)
    assert cells[:5] == ["1", "␣a", "25.0%", "1.50", ""]
    assert cells[5] == "&#x27; b&#x27; 50.0%, &#x27; a&#x27; 25.0%"
    assert cells[6:11] == ["2", "⏎\n", "100.0%", "", "forced"]
    assert 'role="img" aria-label="Entropy of each token: 1.50 bits on average' in html


def test_long_answers_are_shown_in_part():
    html = answer(*[ScoredToken("a ", 0.5)] * 2500)._repr_html_()
    assert "500 more are not shown." in html
    assert html.count("<tr>") < 2100


def test_a_prompt_tells_what_was_cached():
    tokens = [PromptToken(7, "Hi", True), PromptToken(8, " you")]
    html = prompt_html(tokens)
    assert "Prompt: 2 tokens, 1 of them from the prefix cache" in html
    assert html.count("<td") == 8
    assert "prefix cache" not in prompt_html(tokens[1:])
    assert prompt_html(tokens[1:]).count("<td") == 3


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("One two. Three! Four?", ["One two. ", "Three! ", "Four?"]),
        ("One two. Three", ["One ", "two. ", "Three"]),
        ("a\nb\nc", ["a\n", "b\n", "c"]),
        ("  one two", ["  one ", "two"]),
        ("", []),
    ],
)
def test_a_prompt_splits_into_sentences_or_words(text, parts):
    assert split(text) == parts


def test_a_long_prompt_has_at_most_24_parts():
    text = "".join(f"Sentence {number}. " for number in range(100))
    assert len(split(text)) <= 24
    assert "".join(split(text)) == text
