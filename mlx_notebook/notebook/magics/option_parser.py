"""The options of `%%chat` and `%%map`: how they are written, and what values they take."""

import argparse
import re
from collections.abc import Collection
from typing import NoReturn

from mlx_notebook.notebook.errors import BadMagic

_OPTION = re.compile(r"\s*(?:--(?=\s|$)|(?P<option>--?[A-Za-z][\w-]*))")
# A value may be quoted, and may contain `{{ expression }}` with spaces.
_VALUE = re.compile(r"""(?:\s*=\s*|\s+|$)(?P<value>"[^"]*"|'[^']*'|(?:\{\{.*?\}\}|\S)*)""")


class OptionParser(argparse.ArgumentParser):
    """Parses the options of a magic, whose name is `prog`. Errors are one sentence."""

    def __init__(self, magic: str) -> None:
        super().__init__(prog=magic, add_help=False, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Raise `BadMagic`."""
        # argparse writes "argument -t/--temperature: ".
        message = re.sub(r"^argument (?:-\w/)?(--[\w-]+): ", r"\1 ", message)
        message = message.replace(" not allowed with argument", " does not go with")
        raise BadMagic(f"{self.prog}: {message}. `{self.prog}?` lists the options.")


def split_options(line: str, parser: OptionParser, flags: Collection[str]) -> tuple[list[str], str]:
    """Split a line into options with their values, and the rest of the text.

    `flags` are the options without a value.

    Raises
    ------
    BadMagic
        If there is no such option.
    """
    words: list[str] = []
    position = 0
    actions = [action for action in parser._actions if action.option_strings]
    known = {name for action in actions for name in action.option_strings}
    long = {action.option_strings[0]: action.option_strings[-1] for action in actions}
    while match := _OPTION.match(line, position):
        position = match.end()
        option = match["option"]
        if option is None:
            break
        # `-t0` is `-t 0`.
        if not option.startswith("--") and option not in known and option[:2] in known:
            position += 2 - len(option)
            option, line = option[:2], f"{line[:position]} {line[position:]}"
        if option not in known:
            parser.error(f"Unknown option {option}")
        if option in flags:
            words.append(option)
            continue
        given = _VALUE.match(line, position)
        value = given["value"] if given else line[position:]
        position = given.end() if given else len(line)
        if not value:
            parser.error(f"{option} needs a value")
        if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
            value = value[1:-1]
        # Joined, so that a value may begin with a dash.
        words.append(f"{long.get(option, option) if len(option) == 2 else option}={value}")
    return words, line[position:].strip()


def as_temperature(value: str) -> float:
    """Return a temperature."""
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 2:
        raise argparse.ArgumentTypeError(f"must be between 0 and 2; you gave {value}")
    return number


def as_whole(value: str) -> int:
    """Return a whole number."""
    try:
        return int(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number; you gave {value}") from None


def as_count(value: str) -> int:
    """Return a number from 1."""
    number = as_whole(value)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more; you gave {value}")
    return number


def as_text(value: str) -> str:
    """Return a text that is not blank."""
    if not value.strip():
        raise argparse.ArgumentTypeError("needs a value")
    return value


def as_names(value: str) -> list[str]:
    """Return names that commas separate; none for `none`."""
    if value.strip() == "none":
        return []
    names = [name.strip() for name in value.split(",") if name.strip()]
    if not names:
        raise argparse.ArgumentTypeError("needs names of functions, or none")
    return names


def as_name(value: str) -> str:
    """Return the name of a variable."""
    if not value.isidentifier():
        raise argparse.ArgumentTypeError(f"needs the name of a variable, not {value!r}")
    return value
