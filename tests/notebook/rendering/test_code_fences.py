"""Markdown that grows is cut between its code blocks, and each block looks like code."""

import random

from mlx_notebook.notebook.rendering.code_fences import in_code_font, open_fence, settled_length


def test_a_fence_that_is_cut_is_opened_again():
    text = "Intro.\n\n```python\n" + "x = 1\n" * 500
    cut = settled_length(text, "", limit=1000)
    assert cut == len("Intro.\n\n")
    rest = text[cut:]
    cut = settled_length(rest, "", limit=1000)
    assert cut == len(rest)
    assert open_fence(rest[:cut]) == "```python\n"
    closed = "x = 2\n```\n\nDone.\n\nMore"
    assert settled_length(closed, "```python\n", limit=1000) == len("x = 2\n```\n\nDone.\n\n")


def test_any_text_settles_without_loss():
    rng = random.Random(3)
    for _ in range(300):
        pieces = rng.choices(["a", "\n", "\n\n", "```\n", "~~~\n", " ", "é"], k=60)
        text = "".join(pieces)
        assert 0 <= settled_length(text, "", limit=20) <= len(text)


CODE = (
    "Look:\n\n```python\nif x:\n    pass\n```\n\n"
    "- in a list\n  ```python\n  y\n  ```\n\n```\nz\n```"
)


def test_code_with_a_language_has_the_font_of_code_in_exported_html():
    from nbconvert.filters import markdown2html_mistune

    shown = in_code_font(CODE)
    assert shown.count("<div") == shown.count("</div>") == 1
    exported = markdown2html_mistune(shown)
    before, after = exported.split("<div style=")
    assert after.startswith('"font-family: var(--jp-code-font-family, monospace)">')
    assert after.index("<pre>") < after.index("</div>")
    assert 'class="k">if' in after
    assert "<pre>" not in before
    # Everything else stays as it was.
    assert in_code_font("- a\n  ```python\n  x\n  ```") == "- a\n  ```python\n  x\n  ```"
    assert in_code_font("```\nx\n```") == "```\nx\n```"
    assert in_code_font("```python\nx\n```").endswith("```\n\n</div>\n\n")
