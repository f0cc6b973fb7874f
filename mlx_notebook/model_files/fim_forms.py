"""The forms of prompts for fill-in-the-middle: the marks of each family of models.

A form is found by the marks in a tokenizer's vocabulary, not by the model's name.
"""

from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from mlx_notebook.model_files.model_folder import read_bytes

# The size of a large vocabulary.
_LARGEST_TOKENIZER = 32 * 2**20


class FimForm(Struct, frozen=True):
    """How a prompt for fill-in-the-middle is written.

    Attributes
    ----------
    name
        Name of the form.
    prefix, suffix, middle
        Marks before the text before the gap, before the text after it, and before the gap's text.
        A form with the suffix first may have no `middle`.
    suffix_first
        Whether the suffix comes before the prefix.
    ends
        Marks that end the text of the gap, if the vocabulary has them.
    """

    name: str
    prefix: str
    suffix: str
    middle: str = ""
    suffix_first: bool = False
    ends: tuple[str, ...] = ()

    @property
    def marks(self) -> tuple[str, ...]:
        """The marks that a vocabulary must have."""
        return tuple(filter(None, (self.prefix, self.suffix, self.middle)))


FORMS = (
    # Qwen2.5-Coder and Qwen3-Coder: https://github.com/QwenLM/Qwen3-Coder#fill-in-the-middle
    # CodeGemma: https://ai.google.dev/gemma/docs/codegemma/model_card#inputs_and_outputs
    # Granite 4: https://huggingface.co/ibm-granite/granite-4.0-h-tiny#fill-in-the-middle
    FimForm(
        name="pipes",
        prefix="<|fim_prefix|>",
        suffix="<|fim_suffix|>",
        middle="<|fim_middle|>",
        ends=(
            *("<|fim_pad|>", "<|file_sep|>", "<|file_separator|>", "<|repo_name|>"),
            *("<|endoftext|>", "<|end_of_text|>", "<|im_end|>", "<|cursor|>"),
        ),
    ),
    # StarCoder2: https://huggingface.co/bigcode/starcoder2-7b/blob/main/special_tokens_map.json
    # Granite Code: https://huggingface.co/ibm-granite/granite-8b-code-base-4k
    FimForm(
        name="starcoder",
        prefix="<fim_prefix>",
        suffix="<fim_suffix>",
        middle="<fim_middle>",
        ends=(
            *("<fim_pad>", "<file_sep>", "<repo_name>", "<filename>", "<reponame>"),
            *("<|endoftext|>", "<|end_of_text|>"),
        ),
    ),
    # DeepSeek-Coder: https://github.com/deepseek-ai/DeepSeek-Coder#2code-insertion
    FimForm(
        name="deepseek",
        prefix="<｜fim▁begin｜>",
        suffix="<｜fim▁hole｜>",
        middle="<｜fim▁end｜>",
        ends=("<｜end▁of▁sentence｜>", "<|EOT|>"),
    ),
    # Codestral, `encode_fim`:
    # https://github.com/mistralai/mistral-common/blob/main/src/mistral_common/tokens/tokenizers/instruct.py
    FimForm(
        name="codestral",
        prefix="[PREFIX]",
        suffix="[SUFFIX]",
        suffix_first=True,
        ends=("</s>", "[MIDDLE]"),
    ),
)


def find_form(contains: Callable[[str], bool]) -> FimForm | None:
    """Return the form whose marks a vocabulary contains; None if there is none."""
    return next((form for form in FORMS if all(map(contains, form.marks))), None)


def form_in_folder(folder: Path) -> FimForm | None:
    """Return the form of a model, from its `tokenizer.json`; None if it has none.

    The file is searched as bytes, since parsing a large vocabulary takes half a second.
    """
    try:
        content = read_bytes(folder / "tokenizer.json", _LARGEST_TOKENIZER)
    except (OSError, ValueError):
        return None

    def contains(mark: str) -> bool:
        escaped = mark.encode("ascii", "backslashreplace")
        return any(b'"%b"' % text in content for text in (mark.encode(), escaped))

    return find_form(contains)
