"""The options on a `%%chat` line."""

import argparse
import re
from dataclasses import dataclass
from typing import Any, NoReturn

from mlx_notebook.notebook.errors import BadMagic

CHAT_HELP = """Ask the model; the answer streams into the cell.

    %%chat [-m MODEL] [-s SYSTEM] [-t TEMPERATURE] [--max-tokens N] [--seed N]
           [--tools NAME,NAME] [--var NAME]
    the prompt, over as many lines as you like

    %chat [options] a prompt on one line

-m, --model        the model that answers, here and in the rest of the conversation
-s, --system       instructions that stand before the whole conversation
-t, --temperature  0 for the likeliest answer, higher for more variety
--max-tokens       the most tokens to answer with
--seed             makes a random answer repeatable
--tools            functions of the notebook that the model may call, here and in the rest of the
                   conversation; `none` takes them away
--var              stores the answer's text in the variable NAME

The conversation goes on from cell to cell until `%mlx reset`. `{{ expression }}` in the prompt
is replaced by the value of that Python expression; single braces are left alone, and
`{{ "{{" }}` writes two. Interrupting the kernel stops the model and keeps what it said.
"""

# One option with its value, where a value may stand in quotes; a lone `--` ends the options.
_WORD = re.compile(
    r"""\s*(?:--(?=\s|$)|(--?[A-Za-z][\w-]*)(?:\s*=\s*|\s+|$)("[^"]*"|'[^']*'|\S*))"""
)


@dataclass(frozen=True)
class ChatOptions:
    """What a `%%chat` or `%chat` line says. `prompt` is the rest of a `%chat` line."""

    model: str | None
    system: str | None
    temperature: float | None
    max_tokens: int | None
    seed: int | None
    tools: list[str] | None
    var: str | None
    prompt: str

    @classmethod
    def parse(cls, line: str, *, is_line: bool) -> "ChatOptions":
        """Read the options in front; `is_line` says that a prompt follows them on the line.

        Raises
        ------
        BadMagic
            If there is an option that `%%chat` does not have, or a value that does not fit.
        """
        words, rest = _split(line)
        if rest and not is_line:
            raise BadMagic(
                f"%%chat does not know what to do with {rest!r}: the prompt goes below that line, "
                "and `%%chat?` lists the options."
            )
        return cls(**vars(_parser().parse_args(words)), prompt=rest)

    def settings(self) -> dict[str, Any]:
        """Those that hold for one turn only, as the API names them."""
        turn = {"temperature": self.temperature, "max_tokens": self.max_tokens, "seed": self.seed}
        return {name: value for name, value in turn.items() if value is not None}


def _split(line: str) -> tuple[list[str], str]:
    """Take options and their values off the front; what remains is text, quotes and all."""
    words: list[str] = []
    position = 0
    while match := _WORD.match(line, position):
        position = match.end()
        option, value = match[1], match[2]
        if option is None:
            break
        if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
            value = value[1:-1]
        # Joined, so that a value may begin with a dash.
        words.append(f"{option}={value}" if option.startswith("--") else f"{option}{value}")
    return words, line[position:].strip()


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BadMagic(f"%%chat: {message}. `%%chat?` lists the options.")


def _parser() -> _Parser:
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("-m", "--model", type=_text)
    parser.add_argument("-s", "--system")
    parser.add_argument("-t", "--temperature", type=float)
    parser.add_argument("--max-tokens", type=int)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--tools", type=_names)
    parser.add_argument("--var", type=_name)
    return parser


def _text(value: str) -> str:
    if not value.strip():
        raise argparse.ArgumentTypeError("a name is missing")
    return value


def _names(value: str) -> list[str]:
    if value.strip() == "none":
        return []
    names = [name.strip() for name in value.split(",") if name.strip()]
    if not names:
        raise argparse.ArgumentTypeError("a name is missing")
    return names


def _name(value: str) -> str:
    if not value.isidentifier():
        raise argparse.ArgumentTypeError(f"{value!r} is not a name for a variable")
    return value
