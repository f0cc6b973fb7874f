"""Turn the text around a gap into a prompt: with the model's marks, or with its chat template."""

import secrets
from dataclasses import replace
from functools import lru_cache

import msgspec

from mlx_notebook.engine.dialects.output_reader import OutputReader
from mlx_notebook.engine.errors import InvalidRequest
from mlx_notebook.engine.infilling.budget import first_part, last_part, nearest
from mlx_notebook.engine.infilling.chat_code import ChatCode
from mlx_notebook.engine.infilling.code_end import CodeEnd
from mlx_notebook.engine.infilling.gap_place import place_of
from mlx_notebook.engine.infilling.gap_reader import GapFilter, GapReader
from mlx_notebook.engine.infilling.plain_tokens import PlainTokens
from mlx_notebook.engine.prompts.chat_format import ChatFormat, OutputPlan
from mlx_notebook.engine.prompts.chat_template import apply_template
from mlx_notebook.engine.prompts.length_limits import LengthLimit
from mlx_notebook.engine.prompts.prompt import PreparedPrompt
from mlx_notebook.model_files.fim_forms import find_form
from mlx_notebook.protocol import ChatPrompt, FillPrompt, Generate, TextPrompt

_MOST_SUFFIX = 512
"""Most tokens of a suffix that may be cut: it is computed anew after each key."""

_UNSTABLE = 4
"""Tokens before the gap that the next key may change."""

_LEAST_STOP = 4
"""Fewest characters of the suffix's first line that end the answer of a chat model."""

_LEAST_ANSWER = 64
"""Tokens left for the answer if the request does not say it."""


class Infiller:
    """Fills gaps with one model.

    Parameters
    ----------
    chat_format
        The model's chat format, with its tokenizer.
    """

    def __init__(self, chat_format: ChatFormat) -> None:
        self._chat_format = chat_format
        self._tokenizer = chat_format.tokenizer
        vocabulary = self._tokenizer.get_vocab()
        self.form = find_form(vocabulary.__contains__)
        marks = (*self.form.marks, *self.form.ends) if self.form else ()
        self._plain = PlainTokens(self._tokenizer, marks)
        self._ids = {mark: vocabulary[mark] for mark in marks if mark in vocabulary}
        self._rendered = lru_cache(64)(self._render)

    def plan(
        self, command: Generate, prompt: FillPrompt, limit: LengthLimit
    ) -> tuple[PreparedPrompt, OutputPlan]:
        """Return the prompt for a gap, and how to read the output.

        Raises
        ------
        InvalidRequest
            If the model has neither marks for fill-in-the-middle nor a chat template.
        ContextOverflow
            If a text is too long to be tokenized.
        """
        can_chat = self._tokenizer.has_chat_template
        form = self.form if prompt.marks or not can_chat else None
        if form is None and not can_chat:
            raise InvalidRequest(
                "this model cannot fill a gap: it has neither marks for fill-in-the-middle nor a "
                "chat template. Leave 'suffix' out, or use another model",
                "suffix",
            )
        limit.check(prompt.prefix)
        limit.check(prompt.suffix)
        before, after = self._shown(command, prompt, limit)
        place = place_of(prompt)
        if form is not None:
            prepared, plan = self._fim(command, before, after)
        else:
            command = _stopping_before(command, prompt.suffix)
            prepared, plan = self._chat(command, prompt, before, after)
        reader, chat = plan.reader, form is None

        def gap_reader() -> OutputReader:
            filters: list[GapFilter] = [ChatCode(prompt.prefix, place)] if chat else []
            filters += [CodeEnd(place)] if prompt.ends_with_block else []
            return GapReader(reader(), filters)

        reads_on = not (chat or prompt.ends_with_block)
        return prepared, plan if reads_on else replace(plan, reader=gap_reader)

    def _shown(self, command: Generate, prompt: FillPrompt, limit: LengthLimit) -> tuple[str, str]:
        """Return the texts before and after the gap that the model sees."""
        if prompt.context_tokens is None:
            return prompt.prefix, prompt.suffix
        wanted = command.sampling.max_tokens or _LEAST_ANSWER
        # Each part has a share of its own, so that none moves when another one grows.
        room = limit.tokens - min(wanted, limit.tokens // 4)
        after = first_part(prompt.suffix, min(_MOST_SUFFIX, room // 8), self._count)
        before = last_part(prompt.prefix, room // 2, self._count)
        context = nearest(prompt.context, min(prompt.context_tokens, room // 4), self._count)
        return "".join(f"{text.strip()}\n\n" for text in context) + before, after

    def _count(self, text: str) -> int:
        return len(self._tokenizer.encode(text, add_special_tokens=False))

    # --- fill-in-the-middle -----------------------------------------------------------------------

    def _fim(self, command: Generate, before: str, after: str) -> tuple[PreparedPrompt, OutputPlan]:
        form = self.form
        assert form is not None
        prefix = [self._ids[form.prefix], *self._plain.encode(before)]
        suffix = [self._ids[form.suffix], *self._plain.encode(after, inside=True)]
        parts = (suffix, prefix) if form.suffix_first else (prefix, suffix)
        middle = [self._ids[form.middle]] if form.middle else []
        tokens = [*self._plain.start, *parts[0], *parts[1], *middle]
        # What comes after the prefix is computed anew after each key, and so are its last tokens.
        stable = len(tokens) - len(middle) - (0 if form.suffix_first else len(suffix))
        ends = () if command.sampling.ignore_eos else tuple(self._ids.values())
        plan = self._plan(command, TextPrompt(text=tokens))
        prepared = self._prepared(tokens, stable)
        prepared.ends = ends
        return prepared, replace(plan, end=(*plan.end, *ends))

    def _prepared(self, tokens: list[int], stable: int) -> PreparedPrompt:
        """Return a prompt whose first `stable` tokens the next one may share, but for a few."""
        kept = max(1, stable - _UNSTABLE)
        text = self._tokenizer.decode(tokens)
        return PreparedPrompt(tokens, text, borders=[kept], kept=kept)

    # --- chat -------------------------------------------------------------------------------------

    def _chat(
        self, command: Generate, prompt: FillPrompt, before: str, after: str
    ) -> tuple[PreparedPrompt, OutputPlan]:
        """Return a conversation whose answer has begun with the text before the gap.

        The model continues it. So there is nothing that it could say before the code, and the text
        that changes with every key comes last.
        """
        if command.output_format is not None:
            raise InvalidRequest(
                "this model fills a gap through its chat template, so the format of the text "
                "cannot be enforced: leave 'suffix' or the format out",
                "suffix",
            )
        head, between = self._rendered(prompt.language, bool(after))
        tokens = [
            *self._plain.template(head),
            *self._plain.encode(after, inside=True),
            *self._plain.template(between, inside=True),
            *self._plain.encode(before, inside=True),
        ]
        chat = ChatPrompt(
            messages=[{"role": "assistant", "content": before}],
            add_generation_prompt=False,
            continues=True,
        )
        return self._prepared(tokens, len(tokens)), self._plan(command, chat)

    def _render(self, language: str, has_suffix: bool) -> tuple[str, str]:
        """Return the rendered conversation up to the suffix, and from there up to the prefix."""
        before, after = (f"GAP{secrets.token_hex(8)}" for _ in range(2))
        name = f"{language} code" if language else "text"
        follows = f"This follows after your answer:\n```\n{after}\n```\n" if has_suffix else ""
        ask = (
            f"Continue the {name} below from the place where it ends. {follows}"
            "Answer with the missing text only, without an explanation. "
            "Do not repeat what is there already."
        )
        messages = [
            {"role": "user", "content": ask},
            {"role": "assistant", "content": f"```{language}\n{before}"},
        ]
        prompt = ChatPrompt(messages=messages, add_generation_prompt=False, continues=True)
        shown, tools = self._chat_format.conversation(prompt)
        text = apply_template(self._tokenizer, shown, tools, {}, False)
        shown_text, found, _ = text.rpartition(before)
        if not found:
            raise InvalidRequest(
                "this model's chat template does not render an answer that has begun, so it "
                "cannot fill a gap: leave 'suffix' out, or use another model",
                "suffix",
            )
        head, _, between = shown_text.partition(after)
        return head, between

    def _plan(self, command: Generate, prompt: ChatPrompt | TextPrompt) -> OutputPlan:
        return self._chat_format.plan(
            msgspec.structs.replace(command, prompt=prompt), in_reasoning=False
        )


def _stopping_before(command: Generate, suffix: str) -> Generate:
    """Return a command that also stops before the rest of the gap's line."""
    line = suffix.partition("\n")[0].rstrip()
    if len(line.strip()) < _LEAST_STOP:
        return command
    stop = [*command.sampling.stop, line, line.strip()]
    sampling = msgspec.structs.replace(command.sampling, stop=stop)
    return msgspec.structs.replace(command, sampling=sampling)
