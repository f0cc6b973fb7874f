"""Static HTML is escaped."""

import re

from mlx_notebook.panels.base.static_html import request_block, table


def test_nothing_in_a_saved_table_is_taken_for_a_formula():
    shown = table([(r"$\href{javascript:alert(1)}{a}$", r"\(b\)")], "$c$")
    assert not re.search(r"\$|\\", shown)


def test_images_and_sounds_of_a_prompt_have_a_placeholder():
    parts = [{"type": "image"}, {"type": "audio"}, {"type": "text", "text": "What is it?"}]
    trace = {"messages": [{"role": "user", "content": parts}], "rows": [], "seconds": 1.0}
    assert ">[image] [sound] What is it?<" in request_block(trace)
