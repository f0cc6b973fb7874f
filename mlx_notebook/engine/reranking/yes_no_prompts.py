"""The question that a yes-no reranker is asked about a document."""

import secrets
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct

from mlx_notebook.engine.errors import InvalidRequest
from mlx_notebook.engine.prompts.chat_template import apply_template
from mlx_notebook.model_files.model_folder import read_json

# The prompt of https://huggingface.co/Qwen/Qwen3-Reranker-0.6B.
_BEGIN = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and "
    'the Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n'
    "<|im_start|>user\n"
)
_END = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
_INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"
_SETTINGS = "sentence_bert_config.json"


class QuestionForm(Protocol):
    """How a query and a document become a prompt."""

    def around(self, query: str, instruction: str | None) -> tuple[str, str]:
        """Return the text before the document and the text after it."""


class QwenForm:
    """The prompt of Qwen3-Reranker. See `QuestionForm`."""

    def around(self, query: str, instruction: str | None) -> tuple[str, str]:
        """Return the text around a document."""
        asked = f"<Instruct>: {instruction or _INSTRUCTION}\n<Query>: {query}\n<Document>: "
        return _BEGIN + asked, _END


class _ChatTemplateSettings(Struct, frozen=True):
    """Variables of the chat template. Any others are left to the template."""

    add_generation_prompt: bool = False


class _ProcessingSettings(Struct, frozen=True):
    chat_template: _ChatTemplateSettings = _ChatTemplateSettings()


class _TransformerSettings(Struct, frozen=True):
    processing_kwargs: _ProcessingSettings = _ProcessingSettings()


class TemplateForm:
    """A chat template with the roles `query` and `document`, as sentence-transformers renders it.

    An instruction is a system message. See `QuestionForm`.

    Parameters
    ----------
    tokenizer
        mlx-lm's `TokenizerWrapper`.
    folder
        The model's folder.

    Raises
    ------
    ValueError
        If a file of its folder is not valid.
    """

    def __init__(self, tokenizer: Any, folder: Path) -> None:
        self._tokenizer = tokenizer
        try:
            settings = read_json(folder / _SETTINGS, type=_TransformerSettings)
        except FileNotFoundError:
            settings = _TransformerSettings()
        self._open = settings.processing_kwargs.chat_template.add_generation_prompt

    def around(self, query: str, instruction: str | None) -> tuple[str, str]:
        """Return the text around a document."""
        mark = f"DOCUMENT{secrets.token_hex(8)}"
        system = [] if instruction is None else [{"role": "system", "content": instruction}]
        pair = [{"role": "query", "content": query}, {"role": "document", "content": mark}]
        text = apply_template(self._tokenizer, [*system, *pair], [], {}, self._open)
        before, found, after = text.partition(mark)
        if not found:
            raise InvalidRequest(
                "the model's chat template does not render a message of the role 'document'",
                "model",
            )
        return before, after


def asks_pairs(tokenizer: Any) -> bool:
    """Return whether a model's chat template has the roles `query` and `document`."""
    template = str(tokenizer.chat_template or "") if tokenizer.has_chat_template else ""
    return all(f"'{role}'" in template or f'"{role}"' in template for role in ("query", "document"))
