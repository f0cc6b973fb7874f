"""A tool call is shown as it was, and nothing in it becomes live."""

import random
from html.parser import HTMLParser

import pytest

from mlx_notebook.notebook.answers.tool_call import ToolCall
from mlx_notebook.notebook.rendering.tool_call_block import (
    SHOWN_CHARACTERS,
    fenced,
    tool_call_bundle,
)
from tests.notebook.test_escaping import RENDERERS, Elements

NASTY = [
    "<script>alert(1)</script>", "</pre></details><x-evil>", "```\n<x-evil>", "`````", "$$", "\\(",
    "![a](http://e.com/x)", "[x](javascript:alert(1))", "&lt;", "\x1b[31m", "\u202e", '"', "'",
    "<img src=x onerror=y>", "\n\n", "~~~", "|", "*", "<!--", "]]>", "{{", "\\end{x}", "word",
]  # fmt: skip


def done(name="add", arguments=None, content="42", **more):
    arguments = {"a": 1} if arguments is None else arguments
    return ToolCall("call_0", name, arguments=arguments, state="done", content=content, **more)


def test_a_block_holds_name_arguments_result_and_time():
    bundle = tool_call_bundle(done(seconds=0.25))
    assert bundle["text/html"] == (
        "<details><summary><b>add</b>(a=1) → 42 · 250 ms</summary>"
        "<div><small>arguments</small><pre><code>{\n  &quot;a&quot;: 1\n}</code></pre></div>"
        "<div><small>result</small><pre><code>42</code></pre></div></details>"
    )
    assert bundle["text/plain"] == "add(a=1) → 42 · 250 ms"
    for render in RENDERERS.values():
        said = "".join(Elements(render(bundle["text/markdown"])).text)
        assert "add(a=1) → 42 · 250 ms" in said
        assert '{\n  "a": 1\n}' in said.replace("\u2003", " ")


@pytest.mark.parametrize(
    ("state", "more", "said"),
    [
        ("failed", {"error": "ValueError: no", "traceback": "Traceback ..."}, "failed: ValueError"),
        ("refused", {"error": "too dear"}, "refused: too dear"),
        ("interrupted", {}, "interrupted"),
        ("running", {}, "running …"),
        ("waiting", {}, "not called yet"),
    ],
)
def test_a_block_says_in_words_how_a_call_stands(state, more, said):
    bundle = tool_call_bundle(ToolCall("call_0", "add", arguments={}, state=state, **more))
    for text in bundle.values():
        assert said in text.replace("&#58;", ":")
    assert ("Traceback ..." in bundle["text/html"]) == ("traceback" in more)


def test_long_texts_are_trimmed_and_say_so():
    for text in tool_call_bundle(
        done(arguments={"a": "x" * 90_000}, content="y" * 90_000)
    ).values():
        assert len(text) < 3 * SHOWN_CHARACTERS
    assert "characters left out" in tool_call_bundle(done(content="y" * 90_000))["text/html"]


def test_arguments_that_are_no_json_are_shown_as_they_were_written():
    call = ToolCall("call_0", "add", '{"a": <b>', state="failed", error="no JSON")
    assert "{&quot;a&quot;: &lt;b&gt;" in tool_call_bundle(call)["text/html"]


class Tags(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.open = [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.slow
def test_nothing_that_a_model_or_tool_wrote_becomes_live():
    rng = random.Random(8)

    def nasty():
        return "".join(rng.choices(NASTY, k=rng.randint(1, 6)))

    for _ in range(1500):
        call = ToolCall(
            "call_0",
            nasty(),
            nasty(),
            arguments=rng.choice([None, {nasty(): nasty(), "x": [nasty()]}]),
            state=rng.choice(["done", "failed", "refused"]),
            content=nasty(),
            error=nasty(),
            traceback=rng.choice([None, nasty()]),
        )
        bundle = tool_call_bundle(call)
        tags = Tags(bundle["text/html"])
        assert set(tags.tags) <= {"details", "summary", "b", "small", "div", "pre", "code", "span"}
        assert tags.attributes == []
        assert tags.open == []
        for render in RENDERERS.values():
            page = Elements(render(bundle["text/markdown"]))
            assert page.tags <= {"p", "strong", "pre", "code"}, bundle["text/markdown"]
            assert page.links == page.handlers == []
        assert "\x1b" not in bundle["text/plain"]


def test_a_fence_is_longer_than_any_in_the_text():
    assert fenced("a\n````\nb") == "`````\na\n````\nb\n`````"
    assert fenced("x", "json") == "```json\nx\n```"
