"""Training of tiny-chat by a few steps in this process, with a channel that collects messages."""

import io
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mlx_notebook.engine.errors import InvalidRequest
from mlx_notebook.engine.jobs.job_channel import JobChannel, StopWanted
from mlx_notebook.engine.training.finetuning import finetune
from mlx_notebook.protocol import FinetuneSpec, StopJob, TrainingExample

MODEL = Path(__file__).parents[3] / "mlx_notebook" / "demo_models" / "tiny-chat"
EXAMPLES = [
    TrainingExample(
        [
            {"role": "user", "content": f"What is the code of room {number}?"},
            {"role": "assistant", "content": f"The code of room {number} is {number * 7}."},
        ]
    )
    for number in range(6)
]


pytestmark = pytest.mark.usefixtures("without_compiling")


class Collecting(JobChannel):
    """A channel that keeps messages, and wants the job to stop after so many steps."""

    def __init__(self, stop_after: int | None = None, *, keep: bool = True):
        super().__init__(io.BytesIO(), io.BytesIO())
        self.sent: list[Any] = []
        self._stop_after, self._keep = stop_after, keep

    def send(self, message: Any) -> None:
        self.sent.append(message)
        steps = [one for one in self.sent if getattr(one, "name", "") == "train"]
        if len(steps) == self._stop_after:
            self._wish = StopJob(self._keep)

    def curve(self) -> list[tuple[str, Any, Any]]:
        return [
            (one.name, one.values["step"], one.values.get("loss", one.values.get("text")))
            for one in self.sent
            if hasattr(one, "name")
        ]


def spec(folder: Path, **changes: Any) -> FinetuneSpec:
    base = FinetuneSpec(
        model="tiny-chat",
        path=str(MODEL),
        name="rooms",
        folder=str(folder / "rooms"),
        work=str(folder / ".unfinished" / "rooms"),
        fingerprint="f",
        method="lora",
        train=EXAMPLES,
        held_out=EXAMPLES[:1],
        prompts=EXAMPLES[:1],
        steps=5,
        batch_size=2,
        learning_rate=1e-3,
        seed=3,
        rank=2,
        scale=20.0,
        dropout=0.2,
        layers=2,
        max_tokens=128,
        validate_every=2,
        sample_every=4,
        save_every=10,
    )
    return msgspec.structs.replace(base, **changes)


def test_a_training_that_was_stopped_gives_the_same_curve_and_the_same_adapter(
    tmp_path: Path,
) -> None:
    whole = Collecting()
    result = finetune(spec(tmp_path / "a"), whole)
    assert result["model"] == "tiny-chat+rooms"
    assert result["validation_loss"] == whole.curve()[-2][2]

    part = spec(tmp_path / "b")
    with pytest.raises(StopWanted) as stopped:
        finetune(part, Collecting(stop_after=3))
    assert stopped.value.text.startswith("The training was stopped after 3 of 5 steps")
    assert not Path(part.folder).exists()
    rest = Collecting()
    finetune(part, rest)
    assert rest.curve() == whole.curve()
    one, other = (tmp_path / name / "rooms" / "adapters.safetensors" for name in "ab")
    assert one.read_bytes() == other.read_bytes()
    assert not Path(part.work).exists()
    config = json.loads((tmp_path / "b" / "rooms" / "adapter_config.json").read_text())
    assert (config["model"], config["fine_tune_type"]) == ("tiny-chat", "lora")


def test_a_checkpoint_of_another_training_is_not_continued_and_an_adapter_can_be_replaced(
    tmp_path: Path,
) -> None:
    with pytest.raises(StopWanted):
        finetune(spec(tmp_path, prompts=[]), Collecting(stop_after=2))
    anew = Collecting()
    finetune(spec(tmp_path, fingerprint="other", steps=2, prompts=[]), anew)
    assert [step for name, step, _ in anew.curve() if name == "train"] == [1, 2]
    before = (tmp_path / "rooms" / "adapters.safetensors").read_bytes()
    finetune(spec(tmp_path, fingerprint="third", steps=1, prompts=[]), Collecting())
    assert (tmp_path / "rooms" / "adapters.safetensors").read_bytes() != before


def test_a_training_that_is_thrown_away_leaves_nothing(tmp_path: Path) -> None:
    thrown = spec(tmp_path)
    with pytest.raises(StopWanted, match="stop"):
        finetune(thrown, Collecting(stop_after=1, keep=False))
    assert not Path(thrown.work).exists()


@pytest.mark.parametrize("method", ["dora", "qlora"])
def test_every_method_makes_an_adapter_that_learns(tmp_path: Path, method: str) -> None:
    channel = Collecting()
    finetune(spec(tmp_path, method=method, dropout=0.0, train=EXAMPLES[:1], steps=4), channel)
    losses = [loss for name, _, loss in channel.curve() if name == "validation"]
    assert losses[-1] < losses[0]
    config = json.loads((tmp_path / "rooms" / "adapter_config.json").read_text())
    assert config["fine_tune_type"] == ("dora" if method == "dora" else "lora")


def test_examples_that_are_all_too_long_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="6 of 6 examples of 'train' have more than 8 tokens"):
        finetune(spec(tmp_path, max_tokens=8), Collecting())
