"""The arguments of a `%mlx` subcommand, with errors of one sentence."""

import argparse
import shlex
from typing import NoReturn

from mlx_notebook.notebook.errors import BadMagic


class Parser(argparse.ArgumentParser):
    """Reads the rest of a `%mlx` line."""

    def parse(self, line: str) -> argparse.Namespace:
        """Return the arguments. Raises `BadMagic` where they are not right."""
        try:
            words = shlex.split(line)
        except ValueError:
            raise BadMagic(f"%mlx {self.prog}: a quotation mark is not closed.") from None
        return self.parse_args(words)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong in one sentence."""
        if "required: model" in message:
            message = "it needs a model's name; `%mlx models` lists them"
        raise BadMagic(f"%mlx {self.prog}: {message.removesuffix('.')}.")


def parser(command: str) -> Parser:
    """Make the parser of a subcommand."""
    return Parser(prog=command, add_help=False, allow_abbrev=False)
