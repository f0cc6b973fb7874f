"""The options of a `%%map` line."""

import re
from dataclasses import dataclass
from typing import Any

from mlx_notebook.notebook.errors import BadMagic
from mlx_notebook.notebook.magics.option_parser import (
    OptionParser,
    as_count,
    as_name,
    as_names,
    as_temperature,
    as_text,
    as_whole,
    split_options,
)

MAP_HELP = """Answer a prompt for each row of a table.

    %%map data [options]
    the prompt, on one or more lines, with {{ column }} where a column's value stands

`data` is an expression of the notebook: a pandas or polars DataFrame or Series, a list or an
iterator. `{{ value }}` is the element of a Series or list. The answers are the value of the cell.

-m, --model        the model; by default the notebook's
-s, --system       the system message
--schema           each answer is an object of this type, and its fields are columns
--tools            functions of the notebook that the model may call (`--tools add,weather`)
--images           the column that holds an image
-t, --temperature  from 0 (always the most likely token) to 2 (the most random)
--max-tokens       the most tokens of an answer
--seed             makes random answers repeatable
--retry            how often to try a row again; 2 by default
--cache            the file that keeps the answers; by default one of Jupyter's data directory
--no-cache         keeps no answers and uses none
--details          the value is a table of answer, error, tokens and cached
--var              stores the answers in the variable NAME

Interrupt the kernel to stop: the same cell goes on where it stopped.
"""

MAP_FLAGS = ("--no-cache", "--details")
_FIRST_OPTION = re.compile(r"(?:^|(?<=\s))--?[A-Za-z]")


@dataclass(frozen=True)
class MapOptions:
    """The options of a `%%map` line. `data`, `schema` and `tools` are expressions, as text."""

    data: str
    model: str | None
    system: str | None
    schema: str | None
    tools: list[str] | None
    images: str | None
    temperature: float | None
    max_tokens: int | None
    seed: int | None
    retry: int
    cache: str | bool
    details: bool
    var: str | None

    @classmethod
    def parse(cls, line: str) -> "MapOptions":
        """Parse a line.

        Raises
        ------
        BadMagic
            If it names no data, there is no such option, or a value is wrong.
        """
        first = _FIRST_OPTION.search(line)
        end = first.start() if first else len(line)
        data, parser = line[:end].strip(), _parser()
        if not data:
            parser.error("it needs the table, as in `%%map df`")
        words, rest = split_options(line[end:], parser, MAP_FLAGS)
        if rest:
            raise BadMagic(
                f"%%map takes the table and then options on its line, not {rest!r}: write the "
                "prompt below it. `%%map?` lists the options."
            )
        return cls(data, **vars(parser.parse_args(words)))

    def settings(self) -> dict[str, Any]:
        """Return the settings of the requests, with the names of the API's parameters."""
        given = {
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "seed": self.seed,
        }
        return {name: value for name, value in given.items() if value is not None}


def _parser() -> OptionParser:
    parser = OptionParser("%%map")
    parser.add_argument("-m", "--model", type=as_text)
    parser.add_argument("-s", "--system")
    parser.add_argument("--schema", type=as_text)
    parser.add_argument("--tools", type=as_names)
    parser.add_argument("--images", type=as_text)
    parser.add_argument("-t", "--temperature", type=as_temperature)
    parser.add_argument("--max-tokens", type=as_count)
    parser.add_argument("--seed", type=as_whole)
    parser.add_argument("--retry", type=as_whole, default=2)
    cache = parser.add_mutually_exclusive_group()
    cache.add_argument("--cache", type=as_text, default=True)
    cache.add_argument("--no-cache", dest="cache", action="store_false")
    parser.add_argument("--details", action="store_true")
    parser.add_argument("--var", type=as_name)
    return parser
