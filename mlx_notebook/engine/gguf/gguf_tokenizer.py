"""Make the files of a tokenizer from the metadata of a GGUF file.

The metadata names how texts are split before their parts are looked up. A name that is not known is
refused, because another split gives other tokens.
Names: https://github.com/ggml-org/llama.cpp/blob/master/src/llama-vocab.cpp
"""

import json
from pathlib import Path
from typing import Any

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

from mlx_notebook.model_files.gguf.gguf_header import GgufHeader, GgufList, read_values

_PREFIX = "tokenizer.ggml."
_WHOLE = "tokenizer.huggingface.json"
_CONTROL, _USER_DEFINED = 3, 4
_SPECIAL = {
    "bos_token": "bos_token_id",
    "eos_token": "eos_token_id",
    "unk_token": "unknown_token_id",
    "pad_token": "padding_token_id",
}
_SPACE = "\u2581"

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CASES = rf"{_UPPER}*{_LOWER}+", rf"{_UPPER}+{_LOWER}*"
_REST_WITH_SLASH = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"

_LLAMA3 = rf"{_CONTRACTIONS}|{_WORD}|\p{{N}}{{1,3}}|{_REST}"
_QWEN2 = rf"{_CONTRACTIONS}|{_WORD}|\p{{N}}|{_REST}"
_TEKKEN = "|".join(
    [*(rf"[^\r\n\p{{L}}\p{{N}}]?{case}" for case in _CASES), r"\p{N}", _REST_WITH_SLASH]
)
_GPT4O = "|".join(
    [
        *(rf"[^\r\n\p{{L}}\p{{N}}]?{case}{_CONTRACTIONS}?" for case in _CASES),
        r"\p{N}{1,3}",
        _REST_WITH_SLASH,
    ]
)
_SPLITS = {
    **dict.fromkeys(("llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral"), _LLAMA3),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen", "megrez"), _QWEN2),
    **dict.fromkeys(("gpt-4o", "llama4"), _GPT4O),
    "tekken": _TEKKEN,
}
# Byte-level BPE as GPT-2's, with each digit by itself or not.
_DIGITS_APART = ("smollm", "starcoder", "refact", "command-r", "codeshell")
_AS_GPT2 = ("gpt-2", "phi-2", "mpt", "olmo")
# Tokens that end an answer, by their texts: a file names only one of them.
_ENDS = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>")


def write_tokenizer(
    file: Path, header: GgufHeader, config: dict[str, Any], folder: Path
) -> list[int]:
    """Write the tokenizer, its settings and config.json into a folder, as mlx-lm reads them.

    Returns
    -------
    The ids of the tokens that end an answer.

    Raises
    ------
    ValueError
        If the tokenizer is of a kind that is not known, or damaged.
    OSError
        If the file cannot be read.
    """
    metadata = {
        key.removeprefix(_PREFIX): value
        for key, value in header.metadata.items()
        if key.startswith(_PREFIX)
    }
    tokens = _values(file, metadata, "tokens")
    kinds = _values(file, metadata, "token_type") if "token_type" in metadata else []
    whole = header.metadata.get(_WHOLE)
    if isinstance(whole, str):
        (folder / "tokenizer.json").write_text(whole, encoding="utf-8")
    else:
        _tokenizer(file, metadata, tokens, kinds).save(str(folder / "tokenizer.json"))
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": config["max_position_embeddings"],
        **{
            name: tokens[place]
            for name, key in _SPECIAL.items()
            if isinstance(place := metadata.get(key), int) and 0 <= place < len(tokens)
        },
    }
    if isinstance(template := header.metadata.get("tokenizer.chat_template"), str):
        settings["chat_template"] = template
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    ends = _ends(config["eos_token_id"], tokens, kinds)
    described = json.dumps({**config, "eos_token_id": ends})
    (folder / "config.json").write_text(described, encoding="utf-8")
    return ends


def _ends(named: list[int], tokens: list[str], kinds: list[int]) -> list[int]:
    """Return the ids of the tokens that end an answer: those a file names, and those of `_ENDS`."""
    found = [place for place in named if place < len(tokens)]
    for place, (token, kind) in enumerate(zip(tokens, kinds, strict=False)):
        if kind == _CONTROL and token in _ENDS and place not in found:
            found.append(place)
    return found


def _tokenizer(
    file: Path, metadata: dict[str, Any], tokens: list[str], kinds: list[int]
) -> Tokenizer:
    match metadata.get("model"):
        case "gpt2":
            tokenizer = _byte_level(file, metadata, tokens)
        case "llama":
            tokenizer = _sentencepiece(file, metadata, tokens)
        case other:
            named = str(other)[:100]
            raise ValueError(f"its tokenizer is of the kind {named!r}, which is not read.")
    for kind, special in ((_CONTROL, True), (_USER_DEFINED, False)):
        added = [
            AddedToken(token, normalized=False, special=special)
            for token, of_token in zip(tokens, kinds, strict=False)
            if of_token == kind
        ]
        (tokenizer.add_special_tokens if special else tokenizer.add_tokens)(added)
    if tokenizer.get_vocab_size() != len(set(tokens)):
        raise ValueError("its vocabulary has tokens that are no tokens of its tokenizer.")
    first = metadata.get("bos_token_id")
    if metadata.get("add_bos_token", metadata["model"] == "llama") and isinstance(first, int):
        if not 0 <= first < len(tokens):
            raise ValueError("the token that begins its texts is not in its vocabulary.")
        start = processors.TemplateProcessing(
            single=f"{tokens[first]}:0 $A:0",
            pair=f"{tokens[first]}:0 $A:0 {tokens[first]}:1 $B:1",
            special_tokens=[(tokens[first], first)],
        )
        before = tokenizer.post_processor
        tokenizer.post_processor = start if before is None else processors.Sequence([before, start])
    return tokenizer


def _byte_level(file: Path, metadata: dict[str, Any], tokens: list[str]) -> Tokenizer:
    split = metadata.get("pre")
    # Writers leave an empty list out.
    pairs = _values(file, metadata, "merges") if "merges" in metadata else []
    merges = [tuple(merge.split(" ")) for merge in pairs]
    if any(len(merge) != 2 for merge in merges):
        raise ValueError("a merge of its tokenizer does not have two parts.")
    vocabulary = {token: place for place, token in enumerate(tokens)}
    whole_words = split in _SPLITS and _SPLITS[split] == _LLAMA3
    try:
        model = models.BPE(vocabulary, merges, ignore_merges=whole_words)
    except Exception as error:  # tokenizers raises Exception itself
        raise ValueError(f"its tokenizer is damaged ({error}).") from error
    tokenizer = Tokenizer(model)
    if split in _SPLITS:
        before: list[Any] = [
            pre_tokenizers.Split(Regex(_SPLITS[split]), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    elif split in _DIGITS_APART:
        before = [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    elif split in _AS_GPT2:
        before = [pre_tokenizers.ByteLevel(add_prefix_space=False)]
    else:
        raise ValueError(
            f"its tokenizer splits texts in a way that is not known ({str(split)[:100]!r}): take "
            "the model in MLX's format instead."
        )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(before)
    if split == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def _sentencepiece(file: Path, metadata: dict[str, Any], tokens: list[str]) -> Tokenizer:
    """Return BPE over characters, whose merges follow from the scores of the tokens."""
    scores = _values(file, metadata, "scores")
    if len(scores) != len(tokens):
        raise ValueError("its tokenizer does not have one score for each token.")
    vocabulary = {token: place for place, token in enumerate(tokens)}
    merges = [
        (-scores[place], place, len(token[:cut]), token[:cut], token[cut:])
        for token, place in vocabulary.items()
        for cut in range(1, len(token))
        if token[:cut] in vocabulary and token[cut:] in vocabulary
    ]
    merges.sort(key=lambda merge: merge[:3])
    unknown = metadata.get("unknown_token_id", 0)
    if not isinstance(unknown, int) or not 0 <= unknown < len(tokens):
        raise ValueError("the unknown token of its tokenizer is not in its vocabulary.")
    tokenizer = Tokenizer(
        models.BPE(
            vocabulary,
            [(left, right) for *_, left, right in merges],
            unk_token=tokens[unknown],
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    spaced = bool(metadata.get("add_space_prefix", True))
    replaced = normalizers.Replace(" ", _SPACE)
    tokenizer.normalizer = (
        normalizers.Sequence([normalizers.Prepend(_SPACE), replaced]) if spaced else replaced
    )
    steps: list[Any] = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    if spaced:
        steps.append(decoders.Strip(" ", 1, 0))
    tokenizer.decoder = decoders.Sequence(steps)
    return tokenizer


def _values(file: Path, metadata: dict[str, Any], key: str) -> list[Any]:
    place = metadata.get(key)
    if not isinstance(place, GgufList):
        raise ValueError(f"its tokenizer has no {key}.")
    return read_values(file, place)
