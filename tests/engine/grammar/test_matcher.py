"""A grammar applies from the first token, or after a trigger in free text."""

from typing import Any

from mlx_notebook.engine.grammar.matcher import Grammar, Trigger
from tests.engine.writing import BYTES, EOS, PADDING, TOKENIZER, accepts, mask_of

WIDTH = len(TOKENIZER) + PADDING
TOKENS = BYTES.read_vocabulary()


def matcher(lark: str) -> Any:
    return TOKENS.matcher(f"start: {lark}\n", check=False)


def after(trigger: str, **options: Any) -> Grammar:
    return Grammar(TOKENS, None, [Trigger(trigger.encode(), matcher('"yes"'), **options)])


def test_a_grammar_applies_from_the_first_token() -> None:
    grammar = Grammar(TOKENS, matcher('"yes" | "no"'))
    assert accepts(grammar, "yes")
    assert not accepts(grammar, "maybe")


def test_text_is_free_until_a_trigger() -> None:
    grammar = after("<a>")
    row = grammar.row()
    assert not mask_of(row, WIDTH)[0]
    assert accepts(grammar, "anything at all")
    assert accepts(grammar, "say <a>yes")
    assert not accepts(grammar, "say <a>no")
    assert not accepts(grammar, "<a>yes and more")


def test_a_trigger_at_the_beginning_counts_only_there() -> None:
    grammar = after("<a>", first=True)
    assert not accepts(grammar, " \n<a>no")
    assert accepts(grammar, "so <a>no")


def test_free_text_may_follow_a_complete_grammar() -> None:
    grammar = after("<a>", again=True)
    assert accepts(grammar, "<a>yes and <a>yes more")
    assert not accepts(grammar, "<a>yes and <a>no")


def test_rows_do_not_share_their_state() -> None:
    grammar = Grammar(TOKENS, matcher('"yes" | "no"'))
    first, second = grammar.row(), grammar.row()
    for token in TOKENIZER.encode("yes", add_special_tokens=False):
        first.advance(token)
    assert mask_of(first, WIDTH)[1].nonzero()[0].tolist() == [EOS]
    assert mask_of(second, WIDTH)[1].sum() > 1


def test_text_that_leaves_a_binding_grammar_is_a_failure() -> None:
    grammar = Grammar(TOKENS, matcher('"yes"'), name="The format", param="format")
    row = grammar.row()
    row.advance(TOKENIZER.encode("no", add_special_tokens=False)[0])
    assert row.failure is not None
    assert row.failure.message.startswith("The format could not be enforced to the end")
    assert row.failure.param == "format"
