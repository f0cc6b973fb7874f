"""`%mlx convert`: write a model anew, with fewer bits or from a GGUF file."""

from pathlib import Path

from mlx_notebook.notebook.chat.chat import Chat
from mlx_notebook.notebook.conversion.convert import convert as write_anew
from mlx_notebook.notebook.errors import BadMagic
from mlx_notebook.notebook.magics.subcommands.arguments import parser

OPTIONS = {
    "--bits": "bits of a weight: 2, 3, 4 (the usual), 5, 6 or 8",
    "--full": "do not quantise",
    "--group-size": "weights that share a scale: 32, 64 (the usual) or 128",
    "--recipe": "more bits for layers that need them: mixed_2_6, mixed_3_4, mixed_3_6, mixed_4_6",
    "--method": "plain, or awq or dwq, which look at the text and take longer",
    "--dtype": "type of the floats: float16, bfloat16 or float32",
    "--text": "a file with the text whose perplexity is measured before and after",
}
_RECIPES = ("mixed_2_6", "mixed_3_4", "mixed_3_6", "mixed_4_6")


def convert(line: str, _: Chat) -> None:
    """Convert a model, and show the progress and what it cost."""
    options = parser("convert")
    options.add_argument("source")
    options.add_argument("name")
    bits = options.add_mutually_exclusive_group()
    bits.add_argument("--bits", type=int, choices=(2, 3, 4, 5, 6, 8))
    bits.add_argument("--full", action="store_true")
    options.add_argument("--group-size", type=int, choices=(32, 64, 128), default=64)
    options.add_argument("--recipe", choices=_RECIPES)
    options.add_argument("--method", choices=("plain", "awq", "dwq"), default="plain")
    options.add_argument("--dtype", choices=("float16", "bfloat16", "float32"))
    options.add_argument("--text")
    arguments = options.parse(line)
    text = None
    if arguments.text is not None:
        try:
            text = Path(arguments.text).expanduser().read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise BadMagic(
                f"%mlx convert: the file {arguments.text} cannot be read: {error}."
            ) from None
    write_anew(
        arguments.source,
        arguments.name,
        bits=None if arguments.full else arguments.bits or 4,
        group_size=arguments.group_size,
        recipe=arguments.recipe,
        method=arguments.method,
        dtype=arguments.dtype,
        text=text,
    )
