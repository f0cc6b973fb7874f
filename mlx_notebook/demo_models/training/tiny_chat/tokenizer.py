"""Train the tokenizer: byte-level BPE with whole tokens for the JSON that all calls share.

A pre-tokenizer separates spaces and JSON punctuation from words. A value therefore has the same
tokens in a sentence and in a call. Only short function words include the space before them.

``python -m mlx_notebook.demo_models.training.tiny_chat.tokenizer FOLDER`` writes the tokenizer.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from .language import lexicon, words
from .texts import dialogues, snippets

VOCABULARY = 2048
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
ADDED = (
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "</tool_response>",
    "<tools>",
    "</tools>",
    "<think>",
    "</think>",
)
VISION = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
SPARE = tuple(f"<|spare_{i}|>" for i in range(16))

JSON_PIECES = (
    '{"name": "',
    '", "arguments": {',
    '", "arguments": {"',
    '", "arguments": {}}',
    '", "description": "',
    '", "parameters": {"type": "object", "properties": {',
    '", "parameters": {"type": "object", "properties": {"',
    '", "parameters": {"properties": {"',
    '": {"type": "string"',
    '": {"type": "integer"',
    '": {"type": "number"',
    '": {"type": "boolean"',
    '": {"type": "array", "items": {"type": "',
    '": {"type": "object", "properties": {"',
    '": {"type": "string"}, "',
    '": {"type": "integer"}, "',
    '": {"type": "number"}, "',
    '": {"description": "',
    '": {"title": "',
    '": {"default": ',
    '": {"enum": ["',
    ', "description": "',
    '", "type": "string"}',
    '", "type": "integer"}',
    '", "type": "number"}',
    '", "type": "boolean"}',
    ', "enum": ["',
    '"]}, "',
    '"}, "',
    '"}}, "required": ["',
    '}}, "required": ["',
    '"]}}, "required": ["',
    '}, "required": [',
    '"]}}',
    '"]}',
    '"}}',
    "}}",
    "}}}",
    '"}',
    '": "',
    '", "',
    '": ',
    '": ["',
    '": {"',
    ', "',
    '"], "',
    '"]',
    '["',
    '{"',
    '}, "',
    '": true',
    '": false',
    ', "title": "',
    '", "title": "',
    ', "default": ',
    ', "additionalProperties": false}}',
    ', "additionalProperties": false',
    "# Tools",
    "Call: ",
    '{"name": NAME, "arguments": {...}}',
    "```python",
    "```",
    "</",
    "    ",
    "        ",
    "://",
    "...",
    "''",
)
"""Literal texts that each become one token wherever they occur."""

FUNCTION_WORDS = [
    "the",
    "a",
    "an",
    "of",
    "to",
    "in",
    "for",
    "with",
    "from",
    "by",
    "and",
    "or",
    "is",
    "are",
    "was",
    "be",
    "as",
    "that",
    "this",
    "it",
    "its",
    "my",
    "your",
    "you",
    "me",
    "I",
    "what",
    "which",
    "how",
    "can",
    "could",
    "would",
    "will",
    "do",
    "does",
    "have",
    "has",
    "should",
    "at",
    "want",
    "need",
    "into",
    "between",
    "about",
    "than",
    "there",
    "on",
    "if",
    "not",
]


def pattern() -> str:
    """Return the pre-tokenizer's regular expression; its alternatives are tried in order."""

    def escaped(text: str) -> str:
        return "".join("\\" + c if not c.isalnum() and c not in " _" else c for c in text)

    pieces = "|".join(escaped(piece) for piece in sorted(JSON_PIECES, key=len, reverse=True))
    function_words = "|".join(FUNCTION_WORDS)
    return (
        rf"{pieces}| (?:{function_words})(?![\p{{L}}\p{{N}}_'])|'(?:s|t|re|ll|m|ve|d)(?!\p{{L}})"
        r"|\p{Lu}?\p{Ll}+|\p{Lu}+|\p{L}\p{M}*|\p{N}|\n+| +|[^\s\p{L}\p{N}]|\s"
    )


def corpus(documents: int) -> Iterator[str]:
    """Yield the text that the vocabulary must cover: all training words and some dialogues."""
    for name, value in vars(words).items():
        if name.isupper():
            for word in value:
                yield f"{word} {word} {word.lower()} {word.capitalize()}\n" * 4
    rng = Random(11)
    level = dialogues.Difficulty()
    for _ in range(documents):
        make = rng.choice((dialogues.tool_dialogue, dialogues.chat_dialogue))
        dialogue = make(rng, lexicon.TRAINING, level)
        yield "\n".join(message["content"] for message in dialogue.messages)
        yield json.dumps(dialogue.tools)
    for source in (*snippets.CODE, *snippets.SNIPPETS):
        yield source * 20


def train() -> dict[str, Any]:
    """Return the content of tokenizer.json."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    def split() -> Any:
        return pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(pattern()), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )

    def byte_level(text: str) -> str:
        return str(
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(
                text
            )[0][0]
        )

    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = split()
    tokenizer.decoder = decoders.ByteLevel()
    reserved = len(SPECIAL) + len(ADDED) + len(VISION) + len(SPARE)
    pieces = [byte_level(piece) for piece in JSON_PIECES]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - reserved,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
        min_frequency=3,
    )
    learned = Tokenizer(models.BPE())
    learned.pre_tokenizer = split()
    # The pieces get their tokens below, so they must not use up merges here.
    texts = (_without_pieces(text) for text in corpus(4000))
    learned.train_from_iterator(texts, trainer)
    model = json.loads(learned.to_str())["model"]
    vocabulary: dict[str, int] = {}
    ordered = sorted(model["vocab"], key=model["vocab"].__getitem__)
    room = VOCABULARY - reserved - len([piece for piece in pieces if piece not in model["vocab"]])
    for token in [*ordered[:room], *pieces]:
        vocabulary.setdefault(token, len(vocabulary))
    merges = [
        merge
        for merge in model["merges"]
        if {merge[0], merge[1], merge[0] + merge[1]} <= vocabulary.keys()
    ]
    content: dict[str, Any] = json.loads(tokenizer.to_str())
    content["model"] |= {"vocab": vocabulary, "merges": merges}
    names = (*SPECIAL, *ADDED, *VISION, *SPARE)
    first = VOCABULARY - reserved
    if len(vocabulary) != first:
        raise ValueError(f"{len(vocabulary)} tokens were learned where {first} were expected")
    content["added_tokens"] = [
        {
            "id": first + i,
            "content": name,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": name not in ADDED,
        }
        for i, name in enumerate(names)
    ]
    return content


def _without_pieces(text: str) -> str:
    for piece in sorted(JSON_PIECES, key=len, reverse=True):
        text = text.replace(piece, "\n")
    return text


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(
        json.dumps(train(), ensure_ascii=False) + "\n", encoding="utf-8"
    )
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "model_max_length": 4096,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(
        json.dumps(config, indent=2) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
