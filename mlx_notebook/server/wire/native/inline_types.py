"""The types of `mlx/completions/inline`: what an editor shows as grey text behind the cursor."""

import re
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from mlx_notebook.protocol import FillPrompt, FinishReason

CompletionMethod = Literal["fim", "chat"]

_Text = Annotated[str, Meta(max_length=2**20)]
_Short = Annotated[str, Meta(max_length=512)]

_COMMENTS = {
    **dict.fromkeys(("c", "cpp", "c++", "java", "javascript", "typescript", "rust", "go"), "//"),
    **dict.fromkeys(("kotlin", "scala", "swift", "csharp", "c#", "dart", "php"), "//"),
    **dict.fromkeys(("sql", "haskell", "lua"), "--"),
    **dict.fromkeys(("latex", "matlab", "octave", "erlang"), "%"),
    **dict.fromkeys(("lisp", "clojure", "scheme"), ";"),
}
_LINE_BREAKS = re.compile(r"\s+")


class CellContext(Struct, tag_field="kind", tag="cell"):
    """A cell of the notebook. Of a Markdown cell the text becomes a comment."""

    text: _Text
    cell_type: Literal["code", "markdown"] = "code"


class VariableContext(Struct, tag_field="kind", tag="variable"):
    """A variable of the kernel: its name, its type, and a note such as a shape or columns."""

    name: _Short
    type: _Short
    note: _Short = ""


class InlineCompletionRequest(Struct, kw_only=True):
    """The text around the cursor, and what may help to continue it.

    Without `model`, the model for completions is used. `context` holds the cells before this one
    in their order, and variables. The cells nearest to the end are used, up to
    `max_context_tokens` with the variables. `single_line` ends the text after one line; by default
    it does if text follows the cursor on its line. With a `temperature`, each request may get
    another text.
    """

    prefix: _Text
    suffix: _Text = ""
    language: Annotated[str, Meta(max_length=32, pattern=r"^[\w+#.-]*$")] = "python"
    context: Annotated[list[CellContext | VariableContext], Meta(max_length=1024)] = []
    model: Annotated[str, Meta(max_length=512)] | None = None
    max_tokens: Annotated[int, Meta(ge=1, le=1024)] = 128
    max_context_tokens: Annotated[int, Meta(ge=0, le=32768)] = 1024
    single_line: bool | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] = 0.0

    def prompt(self) -> FillPrompt:
        """Return the prompt for the engine."""
        mark = _COMMENTS.get(self.language.lower(), "#")
        cells, variables = [], []
        for item in self.context:
            if isinstance(item, VariableContext):
                note = f"  {item.note}" if item.note else ""
                line = _LINE_BREAKS.sub(" ", f"{item.name}: {item.type}{note}")
                variables.append(f"{mark} {line}")
            elif item.text.strip():
                cells.append(item.text if item.cell_type == "code" else _comment(item.text, mark))
        return FillPrompt(
            prefix=self.prefix,
            suffix=self.suffix,
            context=[*cells, *(["\n".join(variables)] if variables else [])],
            context_tokens=self.max_context_tokens,
            language=self.language,
            comment=mark,
            ends_with_block=True,
            single_line=self.single_line,
        )


class InlineText(Struct, tag_field="type", tag="text"):
    """New text, to be appended to the text so far."""

    text: str


class InlineUsage(Struct):
    """Tokens of the prompt, those of them that the prefix cache held, and those of the text."""

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int


class InlineDone(Struct, tag_field="type", tag="done"):
    """The last event. `finish_reason` is `length` if `max_tokens` cut the text."""

    id: str
    model: str
    method: CompletionMethod
    finish_reason: FinishReason
    usage: InlineUsage


InlineEvent = InlineText | InlineDone


class InlineAvailability(Struct):
    """Whether inline completions are available.

    `model` is the model for completions, and `method` how it completes: with its marks for
    fill-in-the-middle or with a message for its chat template. `loaded` says whether it is in
    memory. If completions are not available, `reason` says why and what to do.
    """

    available: bool
    model: str | None
    method: CompletionMethod | None
    loaded: bool
    reason: str | None


def _comment(text: str, mark: str) -> str:
    return "\n".join(f"{mark} {line}".rstrip() for line in text.splitlines())


DECODER = msgspec.json.Decoder(InlineCompletionRequest)
