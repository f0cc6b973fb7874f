"""How long a text may be, told by what one token of a vocabulary may stand for."""

from typing import Any

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from mlx_notebook.engine.errors import ContextOverflow
from mlx_notebook.engine.prompts.length_limits import LengthLimit, longest_token


def tokenizer(**parts: Any) -> Any:
    """A byte-level tokenizer whose longest token has four characters."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {name: number for number, name in enumerate([*alphabet, "ab", "abab"])}
    made = Tokenizer(models.BPE(words, [("a", "b"), ("ab", "ab")]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    for name, part in parts.items():
        setattr(made, name, part)
    return PreTrainedTokenizerFast(tokenizer_object=made)


def test_no_text_has_fewer_tokens_than_its_length_tells() -> None:
    for normalizer, text in (
        (None, "abab" * 50),
        (normalizers.NFC(), "e\u0301" * 90),
        (normalizers.NFKC(), "\u03b1\u0313\u0300\u0345" * 90),
        (normalizers.Sequence([normalizers.NFC(), normalizers.Replace("xyz", "a")]), "xyz" * 90),
        (normalizers.Lowercase(), "ABAB" * 50),
    ):
        made = tokenizer(normalizer=normalizer) if normalizer else tokenizer()
        longest = longest_token(made)
        assert longest is not None
        assert len(made.encode(text)) >= len(text) / longest


def test_a_byte_level_vocabulary_tells_its_longest_token() -> None:
    assert longest_token(tokenizer()) == 4
    split = pre_tokenizers.Split(Regex("[0-9]"), "isolated")
    bytes_ = pre_tokenizers.ByteLevel(use_regex=False)
    assert longest_token(tokenizer(pre_tokenizer=pre_tokenizers.Sequence([split, bytes_]))) == 4


@pytest.mark.parametrize(
    "parts",
    [
        {"normalizer": normalizers.Strip()},
        {"normalizer": normalizers.Replace(Regex(" +"), " ")},
        {"normalizer": normalizers.Replace("a", "")},
        {"pre_tokenizer": pre_tokenizers.WhitespaceSplit()},
        {
            "pre_tokenizer": pre_tokenizers.Sequence(
                [pre_tokenizers.Split(" ", "removed"), pre_tokenizers.ByteLevel()]
            )
        },
    ],
)
def test_where_text_is_dropped_a_token_may_stand_for_any_length(parts: dict[str, Any]) -> None:
    assert longest_token(tokenizer(**parts)) is None


def test_an_added_token_may_take_the_space_around_it() -> None:
    made = tokenizer()
    made.add_tokens([AddedToken("<end>", rstrip=True)])
    assert longest_token(made) is None


def test_a_word_that_is_not_known_may_have_any_length() -> None:
    made = Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    assert longest_token(PreTrainedTokenizerFast(tokenizer_object=made)) is None


def test_a_text_is_refused_by_its_length() -> None:
    length_limit = LengthLimit(100, longest=4)
    length_limit.check("x" * 400)
    length_limit.check([1] * 400)
    with pytest.raises(ContextOverflow, match=r"maximum context length is 100 tokens.* 401 char"):
        length_limit.check("x" * 401)
    with pytest.raises(ContextOverflow, match="401 tokens"):
        length_limit.check([1] * 401)
    with pytest.raises(ContextOverflow, match="max_prompt_tokens"):
        LengthLimit(100, 50, 4).check("x" * 201)
    assert LengthLimit(100).characters == length_limit.relaxed.characters == 2**20
    assert LengthLimit(10**6).characters == 8 * 10**6
    assert LengthLimit(10**6, longest=1000).characters == 8 * 10**6
