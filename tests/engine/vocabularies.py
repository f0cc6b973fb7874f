"""Small tokenizers of the kinds that models have, trained in a moment on a few sentences."""

import json
from collections.abc import Sequence
from functools import cache

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)
from transformers import PreTrainedTokenizerFast

MARKS = (
    "<think>",
    "</think>",
    "<tool_call>",
    "</tool_call>",
    "<|channel|>",
    "<|message|>",
    "<|constrain|>",
    "<|call|>",
    "<|start|>",
    "<|end|>",
    "[TOOL_CALLS]",
    "[ARGS]",
    "<|tool_call|>",
    "<arg_key>",
    "</arg_key>",
    "<arg_value>",
    "</arg_value>",
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁calls▁end｜>",
    "<｜tool▁call▁begin｜>",
    "<｜tool▁call▁end｜>",
    "<｜tool▁sep｜>",
)
_TEXT = [
    '{"name": "get_weather", "arguments": {"city": "Zürich", "days": 3, "tags": ["a", "b"]}}',
    "The weather in Berlin is fine today, and it will be fine tomorrow as well. I think so.",
    "def get_weather(city: str, days: int = 3) -> dict: return {'city': city, 'days': days}",
    "<function=get_weather>\n<parameter=city>\nZürich\n</parameter>\n</function>\n",
]


@cache
def byte_level(marks: Sequence[str] = MARKS) -> PreTrainedTokenizerFast:
    """Byte-level BPE, as Qwen, Llama 3 and gpt-oss have it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|endoftext|>", "<|im_end|>"],
        show_progress=False,
    )
    return _finish(tokenizer, trainer, marks)


@cache
def words_with_a_mark(marks: Sequence[str] = MARKS) -> PreTrainedTokenizerFast:
    """Byte-level BPE whose words begin with one mark before them, as Qwen's and Llama 3's do.

    So the pieces of a text depend on where in it the tokenizer begins.
    """
    tokenizer = Tokenizer(models.BPE())
    words = r"(?i:'s|'t)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(words), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|endoftext|>", "<|im_end|>"],
        show_progress=False,
    )
    return _finish(tokenizer, trainer, marks, [*_TEXT, "It's hers and it's his."])


@cache
def sentence_piece(marks: Sequence[str] = MARKS) -> PreTrainedTokenizerFast:
    """BPE over U+2581 with bytes for what is missing, as Llama 2, Mistral and Gemma have it."""
    learned = Tokenizer(models.BPE())
    learned.normalizer = normalizers.Replace(" ", "\u2581")
    learned.train_from_iterator(
        _TEXT * 20, trainers.BpeTrainer(vocab_size=400, show_progress=False)
    )
    model = json.loads(learned.to_str())["model"]
    # The bytes are ordinary tokens of the vocabulary, not added ones.
    names = ["<unk>", "<|im_end|>", *(f"<0x{byte:02X}>" for byte in range(256)), *model["vocab"]]
    tokenizer = Tokenizer(
        models.BPE(
            {name: token for token, name in enumerate(names)},
            [tuple(pair) for pair in model["merges"]],
            byte_fallback=True,
            fuse_unk=True,
            unk_token="<unk>",
        )
    )
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer.add_special_tokens(["<unk>", "<|im_end|>"])
    return _finish(tokenizer, None, marks)


def _finish(
    tokenizer: Tokenizer,
    trainer: trainers.BpeTrainer | None,
    marks: Sequence[str],
    texts: Sequence[str] = _TEXT,
) -> PreTrainedTokenizerFast:
    if trainer is not None:
        tokenizer.train_from_iterator([*texts] * 20, trainer)
    tokenizer.add_tokens([AddedToken(mark, special=False, normalized=False) for mark in marks])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>")
