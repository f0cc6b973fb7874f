"""`compare`: the answers of several models to one prompt, side by side while they are streamed."""

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, wait
from typing import Any

from mlx_notebook.notebook import background_loop
from mlx_notebook.notebook.answers.answer import Answer
from mlx_notebook.notebook.chat.chat import AsyncChat
from mlx_notebook.notebook.connection import connection
from mlx_notebook.notebook.errors import Interrupted, NotebookError
from mlx_notebook.notebook.evaluation.comparison_view import (
    ComparedAnswer,
    ComparisonView,
    comparison_bundle,
)
from mlx_notebook.notebook.evaluation.variants import Variant, variants_of, why_one_by_one
from mlx_notebook.notebook.interrupts import LastingInterrupt
from mlx_notebook.notebook.shell import cell_number

_LOOK_SECONDS = 0.1


class Comparison(Sequence[Answer | None]):
    """The answers to one prompt, in the order of the models; None where a model gave none.

    Attributes
    ----------
    labels
        What answered: models, with their settings where these are compared.
    errors
        Why a model gave no answer, by its label.
    """

    def __init__(self, compared: Sequence[ComparedAnswer], note: str | None) -> None:
        self._compared, self._note = compared, note
        self._shown_in: int | None = None
        self.labels = [one.label for one in compared]
        self.errors = {one.label: one.error for one in compared if one.error is not None}

    def __len__(self) -> int:
        return len(self._compared)

    def __getitem__(self, place: Any) -> Any:
        answers = [one.answer for one in self._compared]
        return answers[self.labels.index(place) if isinstance(place, str) else place]

    def __iter__(self) -> Iterator[Answer | None]:
        return iter(self[:])

    def __repr__(self) -> str:
        return comparison_bundle(self._compared, self._note)["text/plain"]

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return comparison_bundle(self._compared, self._note)

    def _ipython_display_(self) -> None:
        """Show nothing in the cell that has already shown the answers while they were streamed."""
        if self._shown_in is None or self._shown_in != cell_number():
            raise NotImplementedError  # IPython then uses another representation


def compare(
    prompt: str,
    models: str | Sequence[str] | None = None,
    settings: Any = None,
    *,
    system: str | None = None,
    images: Iterable[Any] = (),
    schema: Any = None,
    show: bool = True,
    **common: Any,
) -> Comparison:
    """Show what several models, or a model with several settings, answer to a prompt.

    The answers stand side by side in the cell and are streamed. Models that do not fit into the
    server's memory together answer one after the other, and the cell says so.

    Parameters
    ----------
    prompt
        The prompt.
    models
        Names of models, one or several. The notebook's model by default.
    settings
        Settings to compare, such as `[{"temperature": 0}, {"temperature": 1}]`: each model answers
        with each of them.
    system
        The system message.
    images
        Images for the models.
    schema
        The type of the answers, such as a pydantic model or a JSON schema.
    show
        Whether to show the answers while they are streamed.
    common
        Parameters of all requests, such as `max_tokens` or `seed`.

    Returns
    -------
    Comparison
        A sequence of `Answer`, by place or by label.

    Raises
    ------
    NotebookError
        If there is no server, or no model answers. If only some fail, the others are shown.
    Interrupted
        On a kernel interrupt. The models stop, and what they said stays in the cell.

    Examples
    --------
    >>> mlx_notebook.compare("Name a colour.", settings=[{"seed": 1}, {"seed": 2}])
    """
    server = connection.connect()
    default = connection.default_model()
    if models is None and default is None:
        raise NotebookError("The server has no default model: name some with models=.")
    variants = variants_of(models or default or "", settings, common, "compare")
    note = why_one_by_one(server, variants)
    compared = [ComparedAnswer(variant.label) for variant in variants]
    view = ComparisonView(compared, note, shown=show)
    asked = {"images": tuple(images), "schema": schema}
    by_model: dict[str, list[tuple[Variant, ComparedAnswer]]] = {}
    for variant, one in zip(variants, compared, strict=True):
        by_model.setdefault(variant.model if note is not None else "", []).append((variant, one))
    future = background_loop.submit(_ask_all(list(by_model.values()), prompt, system, asked))
    try:
        with LastingInterrupt():
            _watch(future, view)
    except KeyboardInterrupt:
        future.cancel()
        _settle(compared)
        view.end()
        raise Interrupted("compare was stopped. The answers so far are above.") from None
    view.end()
    failures = [one.failure for one in compared if one.failure is not None]
    if len(failures) == len(compared):
        raise failures[0]
    made = Comparison(compared, note)
    made._shown_in = cell_number() if show else None
    return made


def _watch(future: "Future[None]", view: ComparisonView) -> None:
    """Show the answers until all are complete."""
    while not future.done():
        wait([future], _LOOK_SECONDS)
        view.update()
    future.result()


def _settle(compared: Sequence[ComparedAnswer]) -> None:
    """Wait until no answer runs any more, so that what is shown is all that came."""
    end = time.monotonic() + 5
    while any(one.is_running for one in compared) and time.monotonic() < end:
        time.sleep(0.02)


async def _ask_all(
    groups: Sequence[Sequence[tuple[Variant, ComparedAnswer]]],
    prompt: str,
    system: str | None,
    asked: dict[str, Any],
) -> None:
    """Ask one group after the other; in a group all at once."""
    for group in groups:
        tasks = [asyncio.ensure_future(_ask(*pair, prompt, system, asked)) for pair in group]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()  # after an error that is no model's


async def _ask(
    variant: Variant, one: ComparedAnswer, prompt: str, system: str | None, asked: dict[str, Any]
) -> None:
    chat = AsyncChat(variant.model, system, **variant.settings)
    one.is_running = True
    try:
        async for _ in chat.stream(prompt, **asked):
            one.answer = chat.last
    except NotebookError as error:
        one.failure = error
    finally:
        last = chat.last
        said = last is not None and (last.text or last.reasoning)
        one.answer = last if said or one.failure is None else None
        one.is_running = False
