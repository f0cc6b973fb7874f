"""The options of a `%%chat` or `%chat` line."""

import argparse
from dataclasses import dataclass
from typing import Any, Literal, get_args

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

CHAT_HELP = """Send a prompt to the model. The answer is streamed into the cell.

    %%chat [options]
    the prompt, on one or more lines

    %chat [options] a prompt on one line

Model and conversation
-m, --model        the model for this answer and the rest of the conversation
-s, --system       the system message for the rest of the conversation; `-s ""` removes it, and so
                   does a new conversation
--tools            functions of the notebook that the model may call (`--tools add,weather`), for
                   the rest of the conversation; `none` removes them
--thread           the name of another conversation
--new              starts a new conversation; with --thread, in that thread
--resume           continues an answer that was stopped during its tool calls, or whose connection
                   was lost; it takes no prompt: write `%chat --resume`

Request
--image            an image, a PDF or a video: an expression of the notebook or the path of a file;
                   may be repeated
--pages            the pages of a PDF that the model sees: `--pages 1-3,7`
-t, --temperature  from 0 (always the most likely token) to 2 (the most random)
--max-tokens       the most tokens of the answer
--seed             makes a random answer repeatable
--think, --no-think   turns reasoning on or off; for models that can reason

Answer
--schema           the answer is an object of this type (a pydantic model, a dataclass, ...): the
                   value of the cell, or of the variable
--var              stores the answer's text, or the object, in the variable NAME
--md               shows the answer as Markdown (the default)
--text             shows the answer and the tool calls as plain text
--raw              prints only the answer's text, without terminal control sequences
--keep-control     with --raw: prints terminal control sequences too
--json             the answer is JSON; with --var, the decoded value
--code             puts the code of the answer into a new cell below

The conversation continues from cell to cell until `%mlx reset` or `--new`. `{{ expression }}` in
the prompt is replaced by the value of that Python expression. Single braces stay as they are, and
`{{ "{{" }}` writes two. A table, an array or an exception is described in at most 8,000 characters,
and an image is sent as an image. After an error, `{{ _error }}` is its traceback. Interrupting the
kernel stops the model and keeps the answer so far.
"""

FLAGS = (
    "--new", "--resume", "--think", "--no-think", "--md", "--text", "--raw", "--json", "--code",
    "--keep-control",
)  # fmt: skip

Format = Literal["md", "text", "raw", "json", "code"]


@dataclass(frozen=True)
class ChatOptions:
    """The options of a `%%chat` or `%chat` line; `prompt` is the rest of a `%chat` line.

    Names and expressions (`tools`, `schema` and `image`) are kept as text and evaluated later.
    """

    model: str | None
    system: str | None
    tools: list[str] | None
    thread: str | None
    new: bool
    resume: bool
    image: list[str]
    pages: str | None
    temperature: float | None
    max_tokens: int | None
    seed: int | None
    think: bool | None
    schema: str | None
    var: str | None
    format: Format
    keep_control: bool
    prompt: str

    @classmethod
    def parse(cls, line: str, *, is_line: bool) -> "ChatOptions":
        """Parse the options at the start of a line.

        Parameters
        ----------
        line
            What follows the name of the magic.
        is_line
            Whether a prompt may follow the options, as for `%chat`.

        Raises
        ------
        BadMagic
            If there is no such option, or a value is wrong.
        """
        words, rest = split_options(line, _parser(), FLAGS)
        if rest and not is_line:
            raise BadMagic(
                f"%%chat takes only options on its line, not {rest!r}: write the prompt below it. "
                "`%%chat?` lists the options."
            )
        parsed = cls(**vars(_parser().parse_args(words)), prompt=rest)
        if parsed.keep_control and parsed.format != "raw":
            raise BadMagic("%%chat: --keep-control needs --raw.")
        return parsed

    def settings(self) -> dict[str, Any]:
        """Return the options that hold for one turn, with the names of the API's parameters."""
        turn: dict[str, Any] = {
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "seed": self.seed,
            "pages": self.pages,
        }
        if self.think is not None:
            turn["extra_body"] = {"chat_template_kwargs": {"enable_thinking": self.think}}
        if self.format == "json" and self.schema is None:
            turn["response_format"] = {"type": "json_object"}
        return {name: value for name, value in turn.items() if value is not None}


def _parser() -> OptionParser:
    parser = OptionParser("%%chat")
    parser.add_argument("-m", "--model", type=as_text)
    parser.add_argument("-s", "--system")
    parser.add_argument("-t", "--temperature", type=as_temperature)
    parser.add_argument("--max-tokens", type=as_count)
    parser.add_argument("--seed", type=as_whole)
    parser.add_argument("--tools", type=as_names)
    parser.add_argument("--thread", type=as_text)
    parser.add_argument("--new", action="store_true")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--image", type=as_text, action="append", default=[])
    parser.add_argument("--pages", type=as_text)
    parser.add_argument("--think", action=argparse.BooleanOptionalAction)
    parser.add_argument("--schema", type=as_text)
    parser.add_argument("--var", type=as_name)
    formats = parser.add_mutually_exclusive_group()
    parser.set_defaults(format="md")
    for name in get_args(Format):
        formats.add_argument(f"--{name}", action="store_const", const=name, dest="format")
    parser.add_argument("--keep-control", action="store_true")
    return parser
