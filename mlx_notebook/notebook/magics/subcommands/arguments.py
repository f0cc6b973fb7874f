"""Parse the arguments of a `%mlx` subcommand; each error is one sentence."""

import argparse
import re
import shlex
from typing import NoReturn

from mlx_notebook.notebook.errors import BadMagic


class CommandParser(argparse.ArgumentParser):
    """Parses what follows the name of a subcommand."""

    def parse(self, line: str) -> argparse.Namespace:
        """Return the arguments.

        Raises
        ------
        BadMagic
            If they are wrong.
        """
        try:
            words = shlex.split(line)
        except ValueError:
            raise BadMagic(f"%mlx {self.prog}: a quotation mark is not closed.") from None
        arguments, more = self.parse_known_args(words)
        if more:
            unknown = next((word for word in more if word.startswith("-")), None)
            if unknown is not None:
                self.error(f"Unknown option {unknown.partition('=')[0]}")
            self.error(f"Unexpected argument {more[0]!r}")
        return arguments

    def error(self, message: str) -> NoReturn:
        """Raise `BadMagic` with one sentence."""
        if "required: model" in message:
            message = "it needs a model's name; `%mlx models` lists them"
        message = re.sub(r"^argument (\S+): expected one argument$", r"\1 needs a value", message)
        message = re.sub(r"^argument (\S+): ", r"\1: ", message)
        raise BadMagic(f"%mlx {self.prog}: {message.removesuffix('.')}.")


def parser(command: str) -> CommandParser:
    """Return the parser of a subcommand."""
    return CommandParser(prog=command, add_help=False, allow_abbrev=False)
