"""`convert`: a model written anew by the server, with fewer bits or from a GGUF file."""

from dataclasses import dataclass
from typing import Any, Literal

from mlx_notebook.notebook.connection import connection
from mlx_notebook.notebook.conversion.conversion_view import ConversionView
from mlx_notebook.notebook.human_units import format_bytes
from mlx_notebook.notebook.jobs.job_follower import run_job


@dataclass(frozen=True)
class ConvertedModel:
    """A model that `convert` has written.

    Attributes
    ----------
    name
        Its name for every client of the server.
    path
        Its folder on the server, in mlx-lm's format.
    bits_per_weight
        Bits of a weight on average, scales included.
    bytes, bytes_before
        Bytes of the weights in memory, of the new model and of its source.
    perplexity, perplexity_before
        How uncertain each is of the next token of the text.
    tokens_checked
        Tokens of the text.
    """

    name: str
    path: str
    bits_per_weight: float
    bytes: int
    bytes_before: int
    perplexity: float
    perplexity_before: float
    tokens_checked: int

    def __str__(self) -> str:
        change = 100 * (self.perplexity / self.perplexity_before - 1)
        return (
            f"{self.name} is a model now: {self.bits_per_weight:.1f} bits a weight, "
            f"{format_bytes(self.bytes)} in place of {format_bytes(self.bytes_before)}. Perplexity "
            f"of {self.tokens_checked:,} tokens: {self.perplexity:,.2f}, before "
            f"{self.perplexity_before:,.2f} ({change:+.1f} %)."
        )


def convert(
    source: str,
    name: str,
    *,
    bits: Literal[2, 3, 4, 5, 6, 8] | None = 4,
    group_size: Literal[32, 64, 128] = 64,
    recipe: Literal["mixed_2_6", "mixed_3_4", "mixed_3_6", "mixed_4_6"] | None = None,
    method: Literal["plain", "awq", "dwq"] = "plain",
    dtype: Literal["float16", "bfloat16", "float32"] | None = None,
    text: str | None = None,
    show: bool = True,
) -> ConvertedModel:
    """Write a model anew, with fewer bits or from a GGUF file.

    The server converts in a process of its own, and answers requests meanwhile. An interrupt stops
    the conversion, and nothing of it is kept. The perplexity of a text says what the fewer bits
    cost: it is measured before and after.

    Parameters
    ----------
    source
        Name of a model on the server's machine. It stays as it is.
    name
        Name of the new model.
    bits
        Bits of a weight. None: not quantised.
    group_size
        How many weights share a scale. Fewer are more exact, and take more memory.
    recipe
        More bits for the layers that need them, in place of `bits`: `mixed_2_6`, `mixed_3_4`,
        `mixed_3_6` or `mixed_4_6`.
    method
        `plain` rounds. `awq` scales the channels first that matter for the text, `dwq` trains the
        scales until the model answers as the original does. Both take much longer, and a text of
        the kind that the model is for.
    dtype
        Type of the floats. None: that of the model.
    text
        The text that the perplexity is measured with. None: a short English one.
    show
        Whether to show the progress, and the figures at the end.

    Returns
    -------
    ConvertedModel
        The name of the new model, its size, and what the conversion cost.

    Raises
    ------
    DoesNotFit
        If the conversion needs more memory than the server has for models.
    JobFailed
        If it failed.
    Interrupted
        On a kernel interrupt.
    NotebookError
        If there is no such model, it cannot be converted, or the name is taken.

    Examples
    --------
    >>> mlx_notebook.convert("tiny-chat", "tiny-4bit", bits=4, text=open("sample.txt").read())
    """
    request = {
        "kind": "convert",
        "model": source,
        "name": name,
        "bits": bits,
        "group_size": group_size,
        "recipe": recipe,
        "method": method,
        "dtype": dtype,
        "text": text,
    }
    view = ConversionView(shown=show)
    result: dict[str, Any] = run_job(connection.connect(), request, view.update)
    figures = {key: value for key, value in result.items() if key != "model"}
    made = ConvertedModel(name=str(result["model"]), **figures)
    view.end(str(made))
    return made
