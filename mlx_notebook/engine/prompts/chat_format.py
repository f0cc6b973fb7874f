"""The chat format of a model: its tool-call dialect, its reasoning marks, and grammars for both.

`plan` decides how a request's output is read and constrained. It runs on a worker thread, because
compiling a grammar may take a second.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import msgspec

from mlx_notebook.engine.dialects import registry
from mlx_notebook.engine.dialects.dialect import Dialect
from mlx_notebook.engine.dialects.families.harmony import Harmony
from mlx_notebook.engine.dialects.harmony_reader import HarmonyReader
from mlx_notebook.engine.dialects.output_reader import MarkerReader, OutputReader
from mlx_notebook.engine.dialects.reasoning import ReasoningBudget, ReasoningMarks, infer, token_ids
from mlx_notebook.engine.errors import InvalidRequest, LoadFailed
from mlx_notebook.engine.functions.declared import DeclaredFunctions
from mlx_notebook.engine.grammar.constraints import BadWords, Constraint, MinTokens
from mlx_notebook.engine.grammar.forbidden_texts import ForbiddenTexts
from mlx_notebook.engine.grammar.matcher import Grammar
from mlx_notebook.engine.prompts import tool_prompt
from mlx_notebook.engine.prompts.chat_template import apply_template
from mlx_notebook.engine.prompts.incremental_tokenizer import IncrementalTokenizer
from mlx_notebook.engine.prompts.output_grammar import GrammarCompiler, ReasoningState
from mlx_notebook.engine.sandbox.grammar_errors import GrammarError, NotEnforceable
from mlx_notebook.protocol import ChatPrompt, Generate, Prompt, ToolChoice

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OutputPlan:
    """How the output of a request is read and constrained. Shared by its rows."""

    reader: Callable[[], OutputReader] = MarkerReader
    grammar: Grammar | ForbiddenTexts | None = None
    minimum: int = 0
    end: Sequence[int] = ()
    bad_words: Sequence[Sequence[int]] = ()
    budget: Callable[[Constraint | None], ReasoningBudget] | None = field(default=None, repr=False)

    def constraint(self) -> Constraint | None:
        """Return a new constraint for one row; None if the row is not constrained."""
        constraint: Constraint | None = self.grammar.row() if self.grammar is not None else None
        if self.bad_words:
            constraint = BadWords(self.bad_words, constraint)
        if self.minimum:
            constraint = MinTokens(self.minimum, self.end, constraint)
        return constraint if self.budget is None else self.budget(constraint)


class ChatFormat:
    """The tool-call dialect and the reasoning marks of one model.

    Parameters
    ----------
    tokenizer
        mlx-lm's `TokenizerWrapper`.
    width
        Last dimension of the model's logits.
    family
        `model_type` in the model's config.json. It decides the dialect if the template does not
        support tools.
    dialect
        Name of the dialect in the model's settings. None: detected.

    Raises
    ------
    LoadFailed
        If there is no dialect of that name.
    """

    def __init__(self, tokenizer: Any, width: int, family: str = "", dialect: str | None = None):
        template = getattr(tokenizer, "chat_template", None)
        text = template if isinstance(template, str) else None
        vocabulary = tokenizer.get_vocab()
        self.tokenizer = tokenizer
        self.incremental = IncrementalTokenizer(tokenizer)
        self.supports_tools = tool_prompt.supports_tools(text)
        self._text_arguments = tool_prompt.takes_text_arguments(text)
        self._system_role = "System role not supported" not in (text or "")
        self._end = sorted(tokenizer.eos_token_ids)
        self.dialect: Dialect = (
            _named(dialect)
            if dialect is not None
            else registry.infer(text, vocabulary) or registry.for_family(family)
        )
        self.reasoning: ReasoningMarks | None = infer(text, vocabulary)
        self._compiler = GrammarCompiler(tokenizer, width, self._end)

    def read_vocabulary(self) -> None:
        """Prepare the vocabulary for grammars, which takes up to a second."""
        try:
            self._compiler.read_vocabulary()
        except GrammarError as error:
            log.info("%s", error)

    @cached_property
    def no_calls(self) -> ForbiddenTexts | None:
        """The constraint against tool calls. None if the dialect's calls have no marker."""
        starts = self.dialect.starts
        if isinstance(self.dialect, Harmony) or any(start.first for start in starts):
            return None
        try:
            return self._compiler.forbid([start.text.encode() for start in starts])
        except GrammarError as error:
            log.info("%s", error)
            return None

    @cached_property
    def _wants_parts(self) -> bool:
        """Whether the template needs content as a list of parts, as LLaVA's and SmolVLM's do.

        Found out by rendering a message.
        """

        def shows(content: Any) -> bool:
            messages = [{"role": "user", "content": content}]
            try:
                return "Hello" in apply_template(self.tokenizer, messages, [], {}, False)
            except InvalidRequest:
                return False

        return not shows("Hello") and shows([{"type": "text", "text": "Hello"}])

    def visible_prompt(self, prompt: Prompt, choice: ToolChoice) -> Prompt:
        """Return the prompt with or without its tools, if calls are forbidden.

        If a constraint can forbid calls, the tools stay, so that the prompt keeps its entry in the
        prefix cache. Otherwise they are removed, so that the model does not call them.
        """
        if not isinstance(prompt, ChatPrompt) or choice.mode != "none" or not prompt.tools:
            return prompt
        return prompt if self.no_calls is not None else msgspec.structs.replace(prompt, tools=[])

    def conversation(self, prompt: ChatPrompt) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Return messages and tools in the form that the model's chat template takes.

        Calls and results get one form and order. If the template does not support tools, the
        messages describe them in text, in the dialect of the model's family.

        Raises
        ------
        InvalidRequest
            If calls and results do not match, or a tool is no function.
        """
        try:
            messages = tool_prompt.normalize_messages(prompt.messages)
        except ValueError as error:
            raise InvalidRequest(str(error), "messages") from error
        about_tools = prompt.tools or any(
            m.get("tool_calls") or m.get("role") == "tool" for m in messages
        )
        tools = prompt.tools
        if about_tools and not self.supports_tools:
            system = self._system_role
            try:
                functions = DeclaredFunctions.from_tools(tools)
                messages = tool_prompt.as_text(
                    messages, functions, self.dialect, system_role=system
                )
            except ValueError as error:
                raise InvalidRequest(str(error), "tools") from error
            tools = []
        elif self._text_arguments:
            messages = tool_prompt.with_text_arguments(messages)
        return tool_prompt.with_content_parts(messages) if self._wants_parts else messages, tools

    def plan(self, command: Generate, in_reasoning: bool) -> OutputPlan:
        """Decide how the output of a request is read and constrained.

        Parameters
        ----------
        reasoning
            Whether the rendered prompt ends inside the reasoning.

        Raises
        ------
        InvalidRequest
            If the output format or the tool choice cannot be enforced.
        """
        prompt, sampling = command.prompt, command.sampling
        for name, ids in (
            ("logit_bias", sampling.logit_bias),
            ("stop_token_ids", sampling.stop_token_ids),
            ("allowed_token_ids", sampling.allowed_token_ids or ()),
        ):
            self._check_tokens(name, ids)
        try:
            tools = self._callable(command)
            dialect = self.dialect if tools is not None else None
            chat = isinstance(prompt, ChatPrompt)
            grammar, free = self._grammar(command, tools, in_reasoning)
        except GrammarError as error:
            raise InvalidRequest(str(error), error.param) from error
        except ValueError as error:
            raise InvalidRequest(str(error), "tools") from error
        budget = self._budget(command.reasoning_budget, in_reasoning) if chat else None
        reasoning = self.reasoning if chat else None

        def reader() -> OutputReader:
            if isinstance(self.dialect, Harmony) and chat:
                harmony = dialect if isinstance(dialect, Harmony) else None
                return HarmonyReader(
                    harmony,
                    tools,
                    in_reasoning=in_reasoning,
                    within=isinstance(prompt, ChatPrompt) and prompt.continues,
                    stop=sampling.stop,
                    hold=free,
                )
            return MarkerReader(
                dialect,
                tools,
                reasoning,
                in_reasoning=in_reasoning,
                stop=sampling.stop,
                hold=free,
                call_required=tools is not None and command.tool_choice.mode == "required",
            )

        end = (*(() if sampling.ignore_eos else self._end), *sampling.stop_token_ids)
        minimum = sampling.min_tokens if end else 0
        bad_words = self._bad_words(sampling.bad_words)
        if sampling.allowed_token_ids is not None:
            forbidden = [*(end if minimum else ()), *(word[-1] for word in bad_words)]
            constrained = grammar is not None or budget is not None
            _check_allowed(sampling.allowed_token_ids, forbidden, constrained)
        return OutputPlan(reader, grammar, minimum, end, bad_words, budget)

    def _check_tokens(self, name: str, tokens: Iterable[int]) -> None:
        size = len(self.tokenizer)
        for token in tokens:
            if not 0 <= token < size:
                raise InvalidRequest(
                    f"'{name}' names the token {token}; this model's tokens lie between 0 and "
                    f"{size - 1}.",
                    name,
                )

    def _bad_words(self, words: Sequence[str]) -> list[list[int]]:
        """Return the tokens of forbidden words, each also with a space before it."""
        sequences: list[list[int]] = []
        for index, word in enumerate(words):
            word = word.lstrip()
            if not word:
                raise InvalidRequest(f"'bad_words[{index}]' is blank.", f"bad_words[{index}]")
            for text in (word, f" {word}"):
                tokens = self.tokenizer.encode(text, add_special_tokens=False)
                if tokens not in sequences:
                    sequences.append(tokens)
        return sequences

    def _callable(self, command: Generate) -> DeclaredFunctions | None:
        """Return the functions that the model may call; None if there are none."""
        prompt, choice = command.prompt, command.tool_choice
        if not isinstance(prompt, ChatPrompt) or not prompt.tools or choice.mode == "none":
            return None
        tools = DeclaredFunctions.from_tools(prompt.tools)
        return tools if choice.names is None else tools.select(choice.names)

    def _grammar(
        self, command: Generate, tools: DeclaredFunctions | None, in_reasoning: bool
    ) -> tuple[Grammar | ForbiddenTexts | None, bool]:
        """Return the request's grammar, and whether its calls are unconstrained.

        Calls are constrained if the dialect allows it. If not, voluntary calls are parsed and
        checked afterwards, but a required call is an error.
        """
        prompt = command.prompt
        if (
            command.output_format is not None
            and isinstance(prompt, ChatPrompt)
            and prompt.continues
        ):
            raise NotEnforceable(
                "The format of the answer cannot be enforced if it continues a message: leave one "
                "of the two out.",
                "continue_final_message",
            )
        if tools is None and command.output_format is None:
            shows_tools = isinstance(prompt, ChatPrompt) and bool(prompt.tools)
            return (self.no_calls if shows_tools else None), False
        options: dict[str, Any] = {
            "output": command.output_format,
            "choice": command.tool_choice,
            "reasoning": self.reasoning,
            "reasoning_state": self._reasoning_state(command, in_reasoning),
            "salt": command.cache_salt,
        }
        try:
            grammar = self._compiler.compile(dialect=self.dialect, tools=tools, **options)
        except NotEnforceable:
            strict = tools is not None and any(function.strict for function in tools.functions)
            if strict or command.output_format is not None or command.tool_choice.mode != "auto":
                raise
            if not command.tool_choice.parallel:
                name = self.dialect.name if self.dialect is not None else "none"
                raise NotEnforceable(
                    f"One call at a time cannot be enforced in this model's dialect ({name}): let "
                    "it make several, or use another model.",
                    "parallel_tool_calls",
                ) from None
            return None, True
        return grammar, False

    def _reasoning_state(self, command: Generate, opened: bool) -> ReasoningState:
        if opened:
            return "open"
        prompt = command.prompt
        if isinstance(prompt, ChatPrompt) and prompt.continues:
            return "none"
        asked = isinstance(prompt, ChatPrompt) and prompt.template_kwargs.get("enable_thinking")
        return "optional" if asked and self.reasoning is not None else "none"

    def _budget(
        self, limit: int | None, in_reasoning: bool
    ) -> Callable[[Constraint | None], ReasoningBudget] | None:
        if limit is None or self.reasoning is None:
            return None
        marks = self.reasoning

        def encode(text: str) -> list[int]:
            return token_ids(lambda t: self.tokenizer.encode(t, add_special_tokens=False), text)

        closing, start, end = encode(marks.closing), encode(marks.start), encode(marks.end)
        return lambda inner: ReasoningBudget(
            limit, closing, start, end, in_reasoning=in_reasoning, inner=inner
        )


def _check_allowed(allowed: Sequence[int], forbidden: Sequence[int], constrained: bool) -> None:
    """Refuse `allowed_token_ids` that may leave no token to sample."""
    name = "allowed_token_ids"
    if constrained:
        raise InvalidRequest(
            f"'{name}' cannot be used together with tools, a format or 'thinking_budget': leave "
            "one of them out.",
            name,
        )
    if set(allowed) <= set(forbidden):
        raise InvalidRequest(
            f"'{name}' holds only tokens that 'min_tokens' or 'bad_words' forbid.", name
        )


def _named(dialect: str) -> Dialect:
    try:
        return registry.get(dialect)
    except ValueError as error:
        raise LoadFailed(f"The model's tool_dialect cannot be used. {error}", "model") from error
