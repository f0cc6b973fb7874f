"""Grammars in Lark: literals are split at special tokens and newlines, and rules are shared."""

from mlx_notebook.engine.grammar.lark import LarkRules

SPECIAL = {"<end>": 7, "<end_all>": 8}


def test_literals_are_split_at_special_tokens() -> None:
    rules = LarkRules(SPECIAL)
    assert rules.text('say "hi"<end_all><end>') == r'"say \"hi\"" <[8]> <[7]>'
    assert rules.text("") == ""
    assert rules.is_special("<end>")
    assert not rules.is_special("<end> ")


def test_newlines_are_literals_of_their_own() -> None:
    assert LarkRules().text("a\n\nb") == r'"a" "\n\n" "b"'


def test_equal_rules_are_shared() -> None:
    rules = LarkRules()
    assert rules.add("x", '"a"') == rules.add("x", '"a"')
    assert rules.add("x", '"b"') != rules.add("x", '"a"')
    assert rules.render("x_0").splitlines() == [
        "%llguidance {}",
        "start: x_0",
        'x_0: "a"',
        'x_1: "b"',
    ]


def test_text_ends_at_a_special_token_or_at_a_suffix() -> None:
    rules = LarkRules(SPECIAL)
    assert rules.until("<end>") == "TEXT_0 <[7]>"
    assert rules.until("</x><end>") == "span_1 <[7]>"
    assert 'span_1[suffix="</x>"]:' in rules.render("span_1")


def test_a_rule_may_name_itself() -> None:
    rules = LarkRules()
    name = rules.reserve("list")
    rules.define(name, f'"[" {name}? "]"')
    assert f'{name}: "[" {name}? "]"' in rules.render(name)
