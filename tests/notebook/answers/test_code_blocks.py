"""The code of an answer."""

import pytest

from mlx_notebook.notebook.answers.code_blocks import extract_code


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Look:\n```python\nx = 1\n```\nand\n~~~\ny = 2\n~~~", "x = 1\n\ny = 2"),
        ("````md\n```python\nx\n```\n````", "```python\nx\n```"),
        ("```python\nx = 1", "x = 1"),
        ("  x = 1\n", "x = 1"),
        ("", ""),
    ],
)
def test_blocks_are_joined_and_a_text_without_any_is_all_code(text, code):
    assert extract_code(text) == code
