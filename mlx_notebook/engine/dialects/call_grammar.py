"""Grammars of tool calls: an answer of calls only, or the rest of a call after its marker."""

from mlx_notebook.engine.dialects.dialect import Dialect
from mlx_notebook.engine.functions.declared import DeclaredFunctions
from mlx_notebook.engine.grammar.lark import LarkRules


def all_calls(dialect: Dialect, tools: DeclaredFunctions, rules: LarkRules, parallel: bool) -> str:
    """Return an expression for one call of `tools`; with `parallel` for one or more."""
    layout = dialect.layout
    call = one_call(dialect, tools, rules)
    begin, close = rules.text(layout.open), rules.text(layout.close)
    join = rules.text(layout.join)
    if not parallel or layout.single:
        return f"{begin} {call} {close}".strip()
    if layout.nested:
        return f"{begin} {call} ({join} {call})* {close}".strip()
    return f"{begin} {call} {close} ({join} {begin} {call} {close})*".strip()


def opened_call(
    dialect: Dialect, tools: DeclaredFunctions, rules: LarkRules, parallel: bool, missing: str
) -> str:
    """Return an expression for the rest of a region after its start marker.

    `missing` is the part of the region's opening that the marker does not contain.
    """
    layout = dialect.layout
    call = one_call(dialect, tools, rules)
    close = rules.text(layout.close)
    lead = rules.add("LEAD", r"/[ \t\n]{0,4}/")
    begin = f"{lead} {rules.text(missing.lstrip())}"
    if not layout.nested or not parallel:
        return f"{begin} {call} {close}".strip()
    join = rules.text(layout.join)
    return f"{begin} {call} ({join} {call})* {close}".strip()


def one_call(dialect: Dialect, tools: DeclaredFunctions, rules: LarkRules) -> str:
    """Return a rule for one call of any of `tools`."""
    calls = [dialect.constrain_call(function, rules) for function in tools.functions]
    return rules.add("call", " | ".join(rules.add("function", call) for call in calls))
