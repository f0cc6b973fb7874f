"""The glossary has each word once, and the words that it replaced are gone from the package."""

import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GLOSSARY = ROOT / "docs/glossary.md"

# Replaced word -> the word of the glossary, or of the field.
REPLACED = {
    "picture": "image",
    "thinking": "reasoning",
    "sight": "image tokens",
    "seer": "vision model",
    "viewer": "image",
    "eyes": "vision model",
    "aside": "cancelled",
    "slot": "resident model",
    "donor": "shared weights",
    "curated": "catalog",
    "trial": "self-test",
    "foreseen": "predicted",
}

# Names that others gave, or that are public and stay: they are not searched.
KEPT = [
    # Chat templates and OpenAI-compatible servers, such as vLLM.
    r"enable_thinking",
    r"thinking_budget",
    r"thinking_forced_open",
    # Anthropic's API: types, fields and the classes that are named after them.
    r"redacted_thinking|thinking_(delta|tokens|turns)|clear_thinking",
    r"(?<=[\"'`.])thinking\b",
    r"^\s*thinking(?=:|$)",
    r"(Redacted)?Thinking(Block|BlockParam|Delta|Enabled|Adaptive|Disabled)\b",
    # Reasoning marks of model families.
    r"</?thinking>",
    r"(START|END)_THINKING",
    # The model setting `thinking`, in the help of MlxNotebookApp.model_settings.
    r"thinking (?=\(whether the model reasons\))",
    # The error of `mlx_notebook` for a value that is no image.
    r"NotAPicture",
    # Texts of the first version's requests, which are part of the keys of recordings.
    r"The pictures?(, in order,)? from the tool calls above:",
    # `source` of a model in v1/mlx/models.
    r'"curated"',
]


def files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "mlx_notebook", "labextension/src"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    return [
        ROOT / name
        for name in listed
        if name.endswith((".py", ".js", ".ts", ".css")) and "/training/" not in name
    ]


def words(text: str) -> str:
    """Return a text with the words of identifiers apart, in small letters."""
    text = re.sub("|".join(KEPT), " ", text)
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|_", " ", text).lower()


def found(text: str) -> list[str]:
    return re.findall(rf"\b({'|'.join(REPLACED)})s?\b", words(text))


@pytest.mark.parametrize(
    ("text", "old"),
    [
        ("PictureCache", ["picture"]),
        ("def thinking(self):", ["thinking"]),
        ("self._seers = 1  # those that see", ["seer"]),
        ('options["thinking_budget"] = 3', []),
        ("block.thinking = text", []),
        ("The model's thinking ends.", ["thinking"]),
        ("an image and its reasoning", []),
    ],
)
def test_a_replaced_word_is_found_in_names_and_prose(text: str, old: list[str]) -> None:
    assert found(text) == old


def test_replaced_words_are_gone_from_the_package() -> None:
    left = [
        f"{file.relative_to(ROOT)}:{number}: {word!r}, now {REPLACED[word]!r}"
        for file in files()
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        for word in found(line)
    ]
    assert not left, "\n".join(left)


def test_each_word_of_the_glossary_is_there_once_and_in_order() -> None:
    rows = re.findall(r"^\| \*\*(.+?)\*\* \|", GLOSSARY.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(rows) > 40
    assert [word for word, count in Counter(rows).items() if count > 1] == []
    assert not {word.lower() for word in rows} & REPLACED.keys()


def test_the_glossary_has_the_words_that_replaced_others() -> None:
    text = GLOSSARY.read_text(encoding="utf-8")
    for word in ("image", "image tokens", "reasoning", "vision model", "resident model", "catalog"):
        assert f"| **{word}** |" in text
