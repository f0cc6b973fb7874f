"""Regular expressions for formats and for all texts but some."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import FormatChecker

from mlx_notebook.engine.grammar.rewriting.formats import BESIDE, PATTERNS, other_than

LETTERS = st.text("ab-]^\\[.\n", max_size=4)


@given(st.lists(LETTERS, min_size=1, max_size=6), LETTERS)
def test_all_texts_but_some(texts: list[str], text: str) -> None:
    pattern = other_than(texts)
    for one in (text, *texts):
        assert bool(re.search(pattern.replace("$", r"\Z"), one)) is (one not in texts)


@pytest.mark.parametrize("name", ["uri-reference", "json-pointer"])
@given(st.data())
def test_what_matches_has_the_format(name: str, data: st.DataObject) -> None:
    pattern = PATTERNS[name].removesuffix("$") + r"\Z"
    text = data.draw(st.from_regex(pattern))
    assert FormatChecker((name,)).conforms(text, name), text


@pytest.mark.parametrize(
    ("name", "text", "matches"),
    [
        ("uri-reference", "../a/b?c=d#e", True),
        ("uri-reference", "https://example.org:80/a", True),
        ("uri-reference", "a b", False),
        ("uri-reference", "1:2", False),
        ("iri", "https://example.org/\u00e9", True),
        ("iri", "/\u00e9", False),
        ("iri-reference", "/\u00e9", True),
        ("uri-template", "/a/{b,c*}{?d:3}", True),
        ("uri-template", "/a/{b", False),
        ("json-pointer", "/a~1b/0", True),
        ("json-pointer", "/a~2", False),
    ],
)
def test_a_text_has_a_format(name: str, text: str, matches: bool) -> None:
    assert bool(re.search(PATTERNS[name], text)) is matches


def test_a_minute_has_sixty_seconds() -> None:
    assert re.search(BESIDE["date-time"], "2026-01-02T03:04:59Z")
    assert not re.search(BESIDE["date-time"], "2026-01-02T03:04:60Z")
    assert not re.search(BESIDE["time"], "03:04:60Z")
