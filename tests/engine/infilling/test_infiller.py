"""The prompt for a gap: in the form of each family, and through a chat template.

The tokenizers are made here: byte-level ones, and one as SentencePiece makes them, which puts a
space before a text. In both, every character is a token.
"""

from pathlib import Path
from typing import Any

import pytest
from mlx_lm.tokenizer_utils import TokenizerWrapper
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from mlx_notebook.engine.errors import ContextOverflow, InvalidRequest
from mlx_notebook.engine.infilling.infiller import Infiller
from mlx_notebook.engine.prompts.chat_format import ChatFormat
from mlx_notebook.engine.prompts.length_limits import LengthLimit
from mlx_notebook.model_files.fim_forms import FORMS, FimForm, form_in_folder
from mlx_notebook.protocol import FillPrompt, Generate, Sampling

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
)
START, END = "<s>", "</s>"


def tokenizer(
    *marks: str, spaces: bool = False, special: bool = True, template: str | None = None
) -> TokenizerWrapper:
    if spaces:
        letters = ["▁", *(chr(code) for code in range(33, 127)), "\n", "☺", "｜"]
        made = Tokenizer(models.BPE({c: i for i, c in enumerate(letters)}, []))
        made.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        )
        made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse()])
    else:
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        made = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        made.decoder = decoders.ByteLevel()
    made.add_special_tokens([START, END, "<|im_start|>", "<|im_end|>"])
    made.add_tokens([AddedToken(mark, normalized=False, special=special) for mark in marks])
    own = PreTrainedTokenizerFast(tokenizer_object=made, bos_token=START, eos_token=END)
    own.chat_template = template
    return TokenizerWrapper(own)


def infiller(*marks: str, **options: Any) -> Infiller:
    made = tokenizer(*marks, **options)
    return Infiller(ChatFormat(made, len(made)))


def prompted(
    filler: Infiller, prefix: str, suffix: str, *, length: int = 4096, **options: Any
) -> list[str]:
    """Return the tokens of a prompt as they are in the vocabulary."""
    prompt = FillPrompt(prefix=prefix, suffix=suffix, **options)
    sampling = Sampling(max_tokens=8)
    command = Generate(id="x", model="m", path="/m", prompt=prompt, sampling=sampling)
    prepared, _ = filler.plan(command, prompt, LengthLimit(length))
    own = filler._tokenizer._tokenizer
    tokens: list[str] = own.convert_ids_to_tokens(prepared.tokens)
    return tokens


EXPECTED = {
    "pipes": ["<|fim_prefix|>", *"a=", "<|fim_suffix|>", *";b", "<|fim_middle|>"],
    "starcoder": ["<fim_prefix>", *"a=", "<fim_suffix>", *";b", "<fim_middle>"],
    "deepseek": ["<｜fim▁begin｜>", *"a=", "<｜fim▁hole｜>", *";b", "<｜fim▁end｜>"],
    "codestral": ["[SUFFIX]", *";b", "[PREFIX]", *"a="],
}


@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_each_family_gets_its_own_form(form: FimForm, special: bool) -> None:
    filler = infiller(*form.marks, special=special)
    assert filler.form is form
    assert prompted(filler, "a=", ";b") == EXPECTED[form.name]


def test_a_tokenizer_that_adds_a_space_does_so_before_the_prefix_alone() -> None:
    filler = infiller(*FORMS[3].marks, spaces=True)
    assert prompted(filler, "a=", ";b") == ["[SUFFIX]", *";b", "[PREFIX]", "▁", *"a="]


@pytest.mark.parametrize("spaces", [False, True])
@pytest.mark.parametrize("form", [FORMS[0], FORMS[3]], ids=lambda form: form.name)
def test_marks_in_the_text_stay_text(form: FimForm, spaces: bool) -> None:
    filler = infiller(*form.marks, spaces=spaces)
    text = f"{form.suffix}<|im_end|>{END}{form.prefix}"
    tokens = prompted(filler, f"{text}=", text)
    control = {*form.marks, "<|im_end|>", "<|im_start|>", START, END}
    assert sorted(token for token in tokens if token in control) == sorted(form.marks)
    assert "".join(token for token in tokens if token not in control).replace("▁", "") == (
        f"{text}{text}=" if form.suffix_first else f"{text}={text}"
    )


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_the_answer_ends_at_every_mark_of_the_form(form: FimForm) -> None:
    filler = infiller(*form.marks, *form.ends)
    prompt = FillPrompt(prefix="a", suffix="b")
    command = Generate(id="x", model="m", path="/m", prompt=prompt)
    prepared, plan = filler.plan(command, prompt, LengthLimit(4096))
    names = filler._tokenizer._tokenizer.convert_ids_to_tokens(list(prepared.ends))
    assert set(names) == {*form.marks, *form.ends}
    assert set(prepared.ends) <= set(plan.end)


def test_the_server_finds_the_form_in_the_file_as_the_engine_does(tmp_path: Path) -> None:
    for form in FORMS:
        tokenizer(*form.marks)._tokenizer.backend_tokenizer.save(str(tmp_path / "tokenizer.json"))
        assert form_in_folder(tmp_path) is form
        file = tmp_path / "tokenizer.json"
        file.write_text(file.read_text().encode("ascii", "backslashreplace").decode())
        assert form_in_folder(tmp_path) is form
    tokenizer("<|fim_prefix|>")._tokenizer.backend_tokenizer.save(str(file))
    assert form_in_folder(tmp_path) is None


def test_context_comes_first_and_the_nearest_of_it_is_kept() -> None:
    filler = infiller(*FORMS[0].marks)
    cells = ["a" * 60, "b=1", "d=2"]
    tokens = prompted(filler, "c=", "", context=cells, context_tokens=50)
    assert "".join(tokens) == "<|fim_prefix|>b=1ĊĊd=2ĊĊc=<|fim_suffix|><|fim_middle|>"


def test_text_that_does_not_fit_is_cut_if_the_prompt_allows_it() -> None:
    filler = infiller(*FORMS[0].marks)
    long = {"prefix": "before()\n" * 100, "suffix": "\nafter()" * 100}
    tokens = prompted(filler, **long, length=400, context=["x" * 300], context_tokens=200)
    assert 200 < len(tokens) <= 400
    assert "".join(tokens).startswith("<|fim_prefix|>")
    assert tokens[-1] == "<|fim_middle|>"
    assert len(prompted(filler, **long, length=400)) > 1600


def test_a_text_that_no_model_can_read_is_refused_before_it_is_tokenized() -> None:
    filler = infiller(*FORMS[0].marks)
    with pytest.raises(ContextOverflow):
        prompted(filler, "x" * (2**20 + 1), "")


@pytest.mark.parametrize("spaces", [False, True])
def test_a_chat_model_gets_a_message_and_an_answer_that_has_begun(spaces: bool) -> None:
    filler = infiller(template=TEMPLATE, spaces=spaces)
    assert filler.form is None
    tokens = prompted(filler, "a=<|im_end|>", ";b", language="python")
    assert tokens.count("<|im_end|>") == 1
    # Such a tokenizer also puts spaces behind the marks of the template.
    text = "".join(tokens).replace("Ċ", "\n").replace("Ġ", "").replace("▁", "")
    question, _, answer = text.partition("<|im_end|>")
    assert "pythoncode" in question
    assert "```\n;b\n```" in question
    assert answer == "\n<|im_start|>assistant\n```python\na=<|im_end|>"
    assert "```\n" not in prompted(filler, "a", "")


def test_marks_that_a_setting_forbids_are_not_used_where_there_is_a_template() -> None:
    marks = FORMS[0].marks
    filler = infiller(*marks, template=TEMPLATE)
    assert set(marks) <= set(prompted(filler, "a", "b"))
    asked = prompted(filler, "a", "b", marks=False)
    assert "<|im_start|>" in asked
    assert set(marks).isdisjoint(asked)
    assert set(marks) <= set(prompted(infiller(*marks), "a", "b", marks=False))


def test_a_template_that_drops_the_answer_cannot_fill_a_gap() -> None:
    filler = infiller(template="{{ messages[0].content }}")
    with pytest.raises(InvalidRequest) as caught:
        prompted(filler, "a", "b")
    assert caught.value.param == "suffix"


def test_a_model_with_neither_is_refused_by_name() -> None:
    with pytest.raises(InvalidRequest) as caught:
        prompted(infiller(), "a", "b")
    assert caught.value.param == "suffix"
