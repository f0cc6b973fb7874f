"""Static HTML is escaped."""

import re

from mlx_notebook.panels.base.static_html import table


def test_nothing_in_a_saved_table_is_taken_for_a_formula():
    shown = table([(r"$\href{javascript:alert(1)}{a}$", r"\(b\)")], "$c$")
    assert not re.search(r"\$|\\", shown)
