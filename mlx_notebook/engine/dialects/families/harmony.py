"""gpt-oss: messages with channels (harmony). Analysis is reasoning, final is the answer.

Source: https://cookbook.openai.com/articles/openai-harmony
"""

import re

from mlx_notebook.engine.dialects.dialect import Dialect, Layout, StartMarker
from mlx_notebook.engine.dialects.notations import json_calls
from mlx_notebook.engine.dialects.text_source import Parsing, TextSource
from mlx_notebook.engine.functions.declared import Function
from mlx_notebook.engine.grammar.lark import LarkRules
from mlx_notebook.engine.grammar.schemas import constrain_arguments

_OPEN = "<|channel|>commentary to=functions."
_MESSAGE = "<|message|>"
_ENDS = ("<|call|>", "<|end|>", "<|return|>")
_RECIPIENT = re.compile(r"to=(?:functions\.)?([^\s<]+)")


class Harmony(Dialect):
    """`<|channel|>commentary to=functions.name <|constrain|>json<|message|>{...}<|call|>`.

    The region begins with the text of the header, which `HarmonyReader` passes.
    """

    name = "harmony"
    layout = Layout(open=_OPEN, close="", join="<|call|><|start|>assistant", single=True)
    starts = (StartMarker(_OPEN, kept=True),)

    def region(self, source: TextSource) -> Parsing[None]:
        """Parse one message to a function, from its header on."""
        head, _ = yield from source.until(_MESSAGE)
        found = _RECIPIENT.search(head)
        source.start(found.group(1) if found else "")
        yield from json_calls.arguments(source)
        if (yield from source.space()):
            yield from source.accept(*_ENDS)
        source.end()

    def write_call(self, name: str, arguments: str) -> str:
        """Return the message from the function's name on."""
        return f"{name} <|constrain|>json{_MESSAGE}{arguments}"

    def constrain_call(self, function: Function, rules: LarkRules) -> str:
        """Return an expression for the message from the function's name on."""
        head = rules.text(f"{function.name} <|constrain|>json{_MESSAGE}")
        return f"{head} {constrain_arguments(function, rules)}"
