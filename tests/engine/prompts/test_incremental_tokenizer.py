"""A text that begins as an earlier one did has the tokens that it has alone."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from mlx_notebook.engine.prompts import incremental_tokenizer
from mlx_notebook.engine.prompts.incremental_tokenizer import (
    IncrementalTokenizer,
    common_length,
    tokenize,
)
from tests.engine.vocabularies import byte_level, sentence_piece, words_with_a_mark

ADDED = [
    AddedToken("<|end|>", normalized=False, special=True),
    # Longer than another one that it begins with.
    AddedToken("<|end|>\n<|user|>", normalized=False),
    AddedToken("<|user|>", normalized=False),
    # These take the white space around them, or depend on what is before them.
    AddedToken("<left>", lstrip=True, normalized=False),
    AddedToken("<right>", rstrip=True, normalized=False),
    AddedToken("one", single_word=True, normalized=False),
    AddedToken("The", normalized=True),
]
PIECES = [
    *(token.content for token in ADDED),
    *("<|", "end", "|>", "\n", " ", "  ", "the", "The one", "someone", "é", "e\u0301", "🙂", "1"),
]
TEXTS = ["the weather is fine and the one is here", "someone says: the end is fine, 1 2 3"]


def trained(model: Any, trainer: Any, normalizer: Any, pre_tokenizer: Any) -> Any:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, pre_tokenizer
    tokenizer.train_from_iterator(TEXTS * 20, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


def unigram(scheme: str) -> Any:
    trainer = trainers.UnigramTrainer(
        vocab_size=60, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False
    )
    spaces = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    return trained(models.Unigram(), trainer, normalizers.NFKC(), spaces)


def llama_2() -> Any:
    """Return a tokenizer that puts a space before each section of a text."""
    trainer = trainers.BpeTrainer(special_tokens=["<unk>"], show_progress=False)
    normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    return trained(models.BPE(unk_token="<unk>"), trainer, normalizer, None)


def bert() -> Any:
    trainer = trainers.WordPieceTrainer(special_tokens=["<unk>"], show_progress=False)
    model = models.WordPiece(unk_token="<unk>")
    return trained(model, trainer, normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer())


def prefixed() -> Any:
    """Return a tokenizer whose words begin with a space, also at the beginning of a section."""
    trainer = trainers.BpeTrainer(
        special_tokens=["<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    return trained(models.BPE(), trainer, None, pre_tokenizers.ByteLevel(add_prefix_space=True))


KINDS: dict[str, Callable[[], Any]] = {
    "byte-level": lambda: byte_level(()),
    "byte-level with a space": prefixed,
    "words with a mark": lambda: words_with_a_mark(()),
    "SentencePiece": lambda: sentence_piece(()),
    "Metaspace at the beginning": lambda: unigram("first"),
    "Metaspace everywhere": lambda: unigram("always"),
    "Metaspace nowhere": lambda: unigram("never"),
    "Llama 2": llama_2,
    "BERT": bert,
}


class Wrapper:
    """What mlx-lm's `TokenizerWrapper` is to us. It notes what is tokenized.

    Parameters
    ----------
    own
        The tokenizer of `transformers`.
    """

    def __init__(self, own: Any):
        self.own, self.asked = own, list[str]()
        self.is_fast, self.added_tokens_decoder = True, own.added_tokens_decoder

    @property
    def _tokenizer(self) -> "Wrapper":
        return self

    def __call__(self, text: str, **options: Any) -> Any:
        self.asked.append(text)
        return self.own(text, **options)


@pytest.fixture(scope="module", params=KINDS)
def wrapper(request: pytest.FixtureRequest) -> Wrapper:
    tokenizer = KINDS[request.param]()
    tokenizer.add_tokens(ADDED)
    return Wrapper(tokenizer)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let texts of any length be kept."""
    monkeypatch.setattr(incremental_tokenizer, "_SHORTEST", 1)


@pytest.fixture(scope="module")
def plain() -> Wrapper:
    return Wrapper(byte_level(("<|end|>",)))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.lists(st.sampled_from(PIECES), max_size=12))))
def test_texts_that_continue_others_have_the_tokens_that_they_have_alone(
    wrapper: Wrapper, turns: list[tuple[int, list[str]]]
) -> None:
    incremental = IncrementalTokenizer(wrapper)
    pieces: list[str] = []
    for kept, added in turns:
        pieces = [*pieces[:kept], *added]
        text = "".join(pieces)
        assert incremental.tokenize(text, "") == tokenize(wrapper, text)


def test_the_next_turn_of_a_conversation_tokenizes_what_is_new(
    plain: Wrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incremental_tokenizer, "_SHORTEST", 100)
    incremental = IncrementalTokenizer(plain)
    first, answer = "the user asks" * 20 + "<|end|>\nassistant\n", "fine" * 30
    texts = [first, f"{first}{answer}<|end|>\nand more<|end|>\nassistant\n"]
    texts.append(f"{texts[1]}{answer}<|end|>\n")
    plain.asked.clear()
    made = [incremental.tokenize(text, "ann") for text in texts]
    begun = [text.rindex("<|end|>") for text in texts]
    assert plain.asked == [first, texts[1][begun[0] :], texts[2][begun[1] :]]
    assert made == [tokenize(plain, text) for text in texts]
    # The last one stands for the others.
    assert [kept.text for kept in incremental._kept] == texts[2:]


def test_two_conversations_share_their_system_prompt(plain: Wrapper) -> None:
    incremental = IncrementalTokenizer(plain)
    system = "You are kind. " * 9 + "<|end|>\nuser\n"
    incremental.tokenize(f"{system}{'Hello? ' * 9}<|end|>\n", "")
    plain.asked.clear()
    question = f"{'Why? ' * 9}<|end|>\n"
    incremental.tokenize(system + question, "")
    assert plain.asked == [f"<|end|>\nuser\n{question}"]
    assert len(incremental._kept) == 2


@pytest.mark.parametrize("salt", ["bob", None])
def test_nobody_continues_a_text_of_another_one(plain: Wrapper, salt: str | None) -> None:
    incremental = IncrementalTokenizer(plain)
    text = "a secret<|end|>\nassistant\n"
    incremental.tokenize(text, "ann")
    plain.asked.clear()
    for _ in range(2):
        incremental.tokenize(text, salt)
    assert plain.asked[0] == text
    assert (plain.asked[1] == text) is (salt is None)
    assert {kept.salt for kept in incremental._kept} == {"ann", salt} - {None}


def test_short_texts_are_not_kept(plain: Wrapper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incremental_tokenizer, "_SHORTEST", 20)
    incremental = IncrementalTokenizer(plain)
    incremental.tokenize("Hello<|end|>", "")
    assert not incremental._kept
    incremental.tokenize("Hello<|end|> to all of you", "")
    assert len(incremental._kept) == 1


def test_the_oldest_texts_are_dropped(plain: Wrapper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incremental_tokenizer, "_MOST_KEPT", 100)
    incremental = IncrementalTokenizer(plain)
    texts = [f"{letter * 30}<|end|>\n" for letter in "abcd"]
    for text in texts:
        incremental.tokenize(text, "")
    assert [kept.text for kept in incremental._kept] == texts[2:]
    incremental.tokenize("e" * 200, "")
    assert not incremental._kept


def test_a_tokenizer_in_python_tells_no_ends() -> None:
    class InPython:
        def __init__(self) -> None:
            self.added_tokens_decoder = {0: AddedToken("<|end|>", normalized=False)}

        @property
        def _tokenizer(self) -> "InPython":
            return self

        def encode(self, text: str, add_special_tokens: bool) -> list[int]:
            return [ord(character) for character in text]

    assert IncrementalTokenizer(InPython()).tokenize("ab", "") == ([97, 98], None)


@pytest.mark.parametrize(
    ("one", "other", "length"),
    [
        ("", "a", 0),
        ("abc", "abd", 2),
        ("abc", "abc", 3),
        ("a" * 9000, "a" * 8999 + "b", 8999),
        ("a" * 8192, "a" * 9000, 8192),
        ("a" * 4096 + "b", "a" * 4096 + "c", 4096),
    ],
)
def test_the_common_beginning_of_two_texts(one: str, other: str, length: int) -> None:
    assert common_length(one, other) == common_length(other, one) == length
