"""What an editor asks for goes before all else, and ends at the next key: a real model, in steps.

The model has marks for fill-in-the-middle, and a batch of two rows.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlx_notebook import protocol
from mlx_notebook.engine.generation.request import RequestState
from mlx_notebook.engine.runtime.activity import Activity
from mlx_notebook.engine.scheduling.scheduler import Scheduler
from mlx_notebook.model_files.fim_forms import FORMS
from mlx_notebook.protocol import URGENT_ROWS
from tests.tiny_models.models import qwen3

CELL = "".join(f"value_{number} = compute(value_{number - 1})\n" for number in range(1, 31))


class Typed(Scheduler):
    """A scheduler that a test steps while it types."""

    def __init__(self, model: Path) -> None:
        self.events: list[protocol.Event] = []
        self._path = model
        self._number = 0
        settings = protocol.EngineConfig(max_batch=2, warm_up=False, prefix_disk_bytes=0)
        super().__init__(settings, self.events.extend, Activity())

    def ask(self, prompt: protocol.Prompt | protocol.FillPrompt, tokens: int, **more: bool) -> str:
        self._number += 1
        sampling = protocol.Sampling(max_tokens=tokens, temperature=0.0, ignore_eos=True)
        command = protocol.Generate(
            id=f"r{self._number}",
            model=self._path.name,
            path=str(self._path),
            prompt=prompt,
            sampling=sampling,
            # Drafts would end answers that repeat themselves before all have begun.
            options=protocol.ModelOptions(prompt_lookup=0),
            **more,
        )
        self.inbox.put(command)
        return command.id

    def chat(self, text: str, tokens: int = 1500) -> str:
        return self.ask(protocol.TextPrompt(text=text), tokens)

    def type(self, prefix: str, suffix: str = "\nprint(value)", tokens: int = 4) -> str:
        prompt = protocol.FillPrompt(prefix=prefix, suffix=suffix, context_tokens=1024)
        return self.ask(prompt, tokens, urgent=True)

    def step_until(self, what: Callable[[], object]) -> None:
        while not what():
            self.one_step()

    def one_step(self) -> None:
        self._take_commands()
        self.step()

    def run_until_done(self, id: str) -> protocol.Done:
        self.step_until(lambda: self.done(id))
        done = self.done(id)
        assert done is not None
        return done

    def done(self, id: str) -> protocol.Done | None:
        found = (e for e in self.events if isinstance(e, protocol.Done | protocol.Failed))
        for event in found:
            assert isinstance(event, protocol.Done), event
            if event.id == id:
                return event
        return None

    def state(self, id: str) -> RequestState | None:
        request = self._requests.get(id)
        return None if request is None else request.state

    @property
    def rows(self) -> int:
        return sum(resident.rows for resident in self._residency.models.values())

    @property
    def entries(self) -> int:
        return len(self._prefixes._models[self._path.name])

    def cancel(self, *ids: str) -> None:
        for id in ids:
            self.inbox.put(protocol.Cancel(id))


@pytest.fixture(scope="module")
def typed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Typed]:
    model = qwen3(tmp_path_factory.mktemp("models") / "coder", special=FORMS[0].marks)
    scheduler = Typed(model)
    scheduler.run_until_done(scheduler.chat("warm", 2))
    yield scheduler
    scheduler.inbox.put(protocol.Shutdown())
    scheduler.run()


def test_a_completion_does_not_wait_for_a_full_batch_nor_for_those_that_wait(typed: Typed) -> None:
    running = [typed.chat("one"), typed.chat("two")]
    typed.step_until(lambda: all(typed.state(id) is RequestState.DECODE for id in running))
    waiting = [typed.chat("three"), typed.chat("four")]
    typed.step_until(lambda: all(typed.state(id) is RequestState.READY for id in waiting))
    typed.run_until_done(typed.type("x = "))
    assert all(typed.state(id) is RequestState.DECODE for id in running)
    assert all(typed.state(id) is RequestState.READY for id in waiting)
    typed.cancel(*running, *waiting)
    typed.step_until(lambda: not typed.rows)


def test_one_user_cannot_fill_the_batch_with_completions(typed: Typed) -> None:
    several = [typed.type(f"{name} = ", tokens=1500) for name in "abcd"]

    def count(state: RequestState) -> int:
        return sum(typed.state(id) is state for id in several)

    # Two workers prepare them: which two are ready first is open.
    typed.step_until(lambda: count(RequestState.DECODE) == URGENT_ROWS)
    typed.step_until(lambda: count(RequestState.READY) == len(several) - URGENT_ROWS)
    typed.one_step()
    assert typed.rows == URGENT_ROWS
    typed.cancel(*several)
    typed.step_until(lambda: not typed.rows)


@pytest.mark.parametrize("phase", [RequestState.PREFILL, RequestState.DECODE])
def test_nothing_runs_one_step_after_a_key_cancels_a_completion(
    typed: Typed, phase: RequestState
) -> None:
    completion = typed.type(f"# {phase.name}\n{CELL}", tokens=1000)
    typed.step_until(lambda: typed.state(completion) in (phase, RequestState.DECODE))
    typed.cancel(completion)
    before = len(typed.events)
    typed.one_step()
    assert typed.rows == 0
    assert typed.state(completion) is None
    typed.one_step()
    about_it = [e for e in typed.events[before:] if getattr(e, "id", None) == completion]
    assert about_it == []


def test_a_completion_is_cancelled_while_a_worker_makes_its_prompt(typed: Typed) -> None:
    completion = typed.type(CELL)
    typed.cancel(completion)
    typed.one_step()
    typed.step_until(lambda: not any(m.preparing for m in typed._residency.models.values()))
    assert typed.state(completion) is None
    assert typed.rows == 0


def test_the_next_key_computes_little_but_the_text_after_the_cursor(typed: Typed) -> None:
    first = typed.run_until_done(typed.type(f"# a\n{CELL}res", suffix="\nend"))
    second = typed.run_until_done(typed.type(f"# a\n{CELL}resu", suffix="\nend"))
    assert first.usage.cached < 100
    assert second.usage.prompt - second.usage.cached < 20
    assert second.usage.prompt > 800


def test_keys_leave_one_entry_in_the_prefix_cache_and_not_one_each(typed: Typed) -> None:
    typed.run_until_done(typed.type(f"# b\n{CELL}"))
    before = typed.entries
    for end in range(1, 9):
        typed.run_until_done(typed.type(f"# b\n{CELL}{'abcdefgh'[:end]}"))
    assert typed.entries == before
