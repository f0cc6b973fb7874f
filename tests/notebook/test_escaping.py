"""A model's Markdown never becomes live HTML, in any renderer we can run, and still reads well."""

import random
from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt
from nbconvert.filters.markdown_mistune import markdown2html_mistune

from mlx_notebook.notebook.escaping import DOLLAR, safe_markdown

RENDERERS = {
    "commonmark": MarkdownIt("commonmark", {"html": True}).render,
    "gfm": MarkdownIt("gfm-like", {"html": True, "linkify": False}).render,
    "nbconvert": markdown2html_mistune,
}


class Elements(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.tags, self.links, self.handlers, self.text = set(), [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        for name, value in attrs:
            if name.startswith("on"):
                self.handlers.append(name)
            if name in ("href", "src"):
                self.links.append((value or "").strip().lower())

    def handle_data(self, data):
        self.text.append(data)


def render(name, text):
    return Elements(RENDERERS[name](safe_markdown(text)))


def assert_dead(text):
    for name in RENDERERS:
        page = render(name, text)
        bad = page.tags & {"script", "img", "x-evil", "svg", "iframe"}
        assert not bad, (name, bad, text, safe_markdown(text))
        assert not page.handlers, (name, text)
        assert not [x for x in page.links if x.startswith(("javascript:", "data:"))], (name, text)


ATTACKS = [
    "<script>alert(1)</script>",
    "`a``<x-evil>`",
    "| a | b |\n|---|---|\n| `a | <x-evil> | ` |",
    "```x`\n```\n<x-evil>\n```",
    "- ```\n  code\n<x-evil>\n  ```\n<x-evil>",
    "> ```\n<x-evil>\n```\n<x-evil>",
    "text\n    ```\n<x-evil>\n    ```",
    "  ```\n<x-evil>\n  ```\n<x-evil>",
    "```\n~~~\n<x-evil>\n```\n<x-evil>\n~~~",
    "````\n```\n<x-evil>\n````\n<x-evil>",
    "```html\n<script>never closed",
    "[x](javascript:alert(1)) [y]( JaVaScRiPt:alert(1))",
    "[x](&#106;avascript:alert(1)) $[x](&#106;avascript:alert(1))$",
    "[x](java&#115;cript:alert(1)) [x](&Tab;javascript:alert(1))",
    "[x][y]\n\n[y]: javascript:alert(1)",
    "[x](\x01javascript:alert(1)) [x](javascript\\:alert(1))",
    "![a](http://example.com/leak) \\![a](http://example.com/leak) ![a][b]\n\n[b]: http://e.com/x",
    "$![a](http://example.com/leak) <x-evil>$",
    "\\<x-evil> \\\\<x-evil>",
    "<!-- --><x-evil>",
    "a\u2028```\n<x-evil>\n```\n<x-evil>",
    "$$ open\n\n```\n$$<x-evil>\n```\n",
    "``` \n<x-evil>\n```",
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_known_tricks_stay_text(attack):
    assert_dead(attack)


def test_random_mixtures_of_markdown_and_html_stay_text():
    pieces = [
        "```", "````", "~~~", "`", "``", "\n", "\n\n", "    ", "  ", "- ", "1. ", "> ", "\t", "| ",
        "<x-evil>", "</x-evil>", "<script>", "<img src=x onerror=y>", "<!--", "-->", "<![CDATA[",
        "$", "$$", "\\", "\\(", "\\)", "[a](", ")", "![", "](", "]", "[a]: ", "javascript:x",
        "&", "&lt;", "&#60;", "word", "python", "<", ">", '"', "'", "<details>", "* ", "# ", "---",
        "\u2028", "\r\n",
        "\\[", "\\]", "\\\\[", "\\\\]", "\\begin{a}", "\\end{a}", "$5 ", "x",
        "|---|---|\n", ":", "<http://e.com/", "=",
    ]  # fmt: skip
    rng = random.Random(20)
    for _ in range(4000):
        assert_dead("".join(rng.choice(pieces) for _ in range(rng.randint(2, 24))))


@pytest.mark.parametrize("name", RENDERERS)
def test_code_keeps_its_angle_brackets(name):
    text = "Use `a < b` here.\n\n```cpp\n#include <vector>\nx = a & b;\n```\nand `&amp;`."
    said = "".join(render(name, text).text)
    assert "a < b" in said
    assert "#include <vector>\nx = a & b;" in said.replace("\u2003", " ")
    assert "&amp;" in said


@pytest.mark.parametrize("name", RENDERERS)
def test_html_in_prose_is_shown_as_it_was_written(name):
    assert "Put <b>this</b> & that &copy; there" in "".join(
        render(name, "Put <b>this</b> & that &copy; there").text
    )


def test_ordinary_markdown_is_left_alone():
    text = (
        "# Title\n\nSome *words*, `code`, a [link](https://example.com/?a=1) and\n\n"
        "1. one\n   ```python\n   print(1)\n   ```\n2. two\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"
    )
    assert safe_markdown(text) == text


def test_a_relation_in_a_formula_stays_a_formula():
    assert safe_markdown("so $a < b$ and $$x &= y$$") == r"so $a \lt  b$ and $$x &= y$$"


def test_latex_brackets_become_dollars_and_prices_do_not_become_formulas():
    assert safe_markdown(r"\(a+b\) and \[ c \]") == "$a+b$ and $$ c $$"
    assert safe_markdown("from $5 to $6") == f"from {DOLLAR}5 to {DOLLAR}6"


def test_a_formula_can_only_be_read():
    said = safe_markdown(r"$\href{javascript:alert(1)}{x}$ and $\classical \style{a}{b}$")
    assert (
        said == r"$\backslash href{javascript:alert(1)}{x}$ and $\classical \backslash style{a}{b}$"
    )


def test_half_a_block_is_closed_while_it_streams():
    assert safe_markdown("```python\nif a < b:").strip() == "```python\nif a < b:\n```"
