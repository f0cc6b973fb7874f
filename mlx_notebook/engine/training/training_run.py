"""One training: mlx-lm's trainer, with a look at each step."""

import contextlib
import io
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx_lm.generate import generate_step
from mlx_lm.tuner.callbacks import TrainingCallback
from mlx_lm.tuner.trainer import TrainingArgs, default_loss, train

from mlx_notebook.engine.jobs.job_channel import JobChannel, StopWanted
from mlx_notebook.engine.training import training_checkpoint as checkpoint
from mlx_notebook.engine.training.training_batches import Batch, all_batches, training_batches
from mlx_notebook.engine.training.training_checkpoint import TrainingCheckpoint
from mlx_notebook.engine.training.training_data import TokenizedExample
from mlx_notebook.protocol import FinetuneSpec, JobValue, TrainingExample

_SAMPLE_TOKENS = 64
# No seed of a training is as large, so no two steps have the same random numbers.
_SEEDS_APART = 2**31
_SHOWN_CHARACTERS = 300


class TrainingRun(TrainingCallback):
    """Trains an adapter step by step, measures it, saves it and shows what it says.

    mlx-lm's trainer asks for a batch before each step. All that happens between steps happens then:
    model and optimizer are in the state after the last step.

    Attributes
    ----------
    prompts
        Conversations that the adapter so far answers, with the tokens of their prompts.
    """

    def __init__(
        self,
        spec: FinetuneSpec,
        channel: JobChannel,
        model: Any,
        optimizer: Any,
        tokenizer: Any,
        train: list[TokenizedExample],
        held_out: list[TokenizedExample],
    ):
        self._spec, self._channel = spec, channel
        self._model, self._optimizer, self._tokenizer = model, optimizer, tokenizer
        self._train, self._held_out = train, held_out
        self._size = min(spec.batch_size, len(train))
        self._first = 0
        self._curve: checkpoint.Curve = []
        self._stop: StopWanted | None = None
        self._began = time.perf_counter()
        self.prompts: list[tuple[TrainingExample, list[int]]] = []

    def go_on(self, known: TrainingCheckpoint) -> None:
        """Go on from a checkpoint."""
        known.restore(self._model, self._optimizer)
        self._first = known.step
        for name, values in known.curve:
            self._record(name, values)
        self._channel.note(f"The training goes on from step {known.step} of {self._spec.steps}.")

    def train(self) -> dict[str, Any]:
        """Train to the end; return the last losses, the tokens learned and the seconds.

        Raises
        ------
        StopWanted
            If the job is to stop.
        """
        spec = self._spec
        mx.reset_peak_memory()
        if self._first < spec.steps:
            arguments = TrainingArgs(
                batch_size=self._size,
                iters=spec.steps - self._first,
                steps_per_report=1,
                steps_per_save=spec.steps + 1,
                max_seq_length=spec.max_tokens,
                adapter_file=str(self._work / "last.safetensors"),
                grad_checkpoint=spec.grad_checkpoint,
            )
            self._work.mkdir(parents=True, exist_ok=True)
            # The trainer draws its progress for a terminal.
            with contextlib.redirect_stdout(io.StringIO()):
                train(
                    self._model,
                    self._optimizer,
                    self._train,
                    args=arguments,
                    iterate_batches=self._batches,
                    training_callback=self,
                )
        if self._stop is not None:
            if not self._stop.keep:
                shutil.rmtree(self._work, ignore_errors=True)
            raise self._stop
        # So that an end of the process from here on costs nothing.
        self._save(spec.steps)
        self._validate(spec.steps)
        self._show_samples(spec.steps)
        last = dict(self._curve)
        return {
            "model": f"{spec.model}+{spec.name}",
            "steps": spec.steps,
            "examples": len(self._train),
            "train_loss": last["train"]["loss"],
            "validation_loss": last.get("validation", {}).get("loss"),
            "learned_tokens": sum(
                float(values["tokens"] or 0) for name, values in self._curve if name == "train"
            ),
            "seconds": round(time.perf_counter() - self._began, 1),
        }

    def on_train_loss_report(self, train_info: dict[str, Any]) -> None:
        """Record a step: its loss, the tokens learned in it, and their rate."""
        step = self._first + int(train_info["iteration"])
        total = float(train_info["trained_tokens"])
        values: dict[str, JobValue] = {
            "step": step,
            "loss": float(train_info["train_loss"]),
            "tokens": total - self._tokens,
            "tokens_per_second": round(float(train_info["tokens_per_second"]), 1),
            "learning_rate": float(train_info["learning_rate"]),
        }
        self._tokens = total
        self._record("train", values)
        self._channel.progress("training", step, self._spec.steps, "steps")
        self._channel.memory(mx.get_peak_memory())

    _tokens = 0.0

    @property
    def _work(self) -> Path:
        return Path(self._spec.work)

    # --- between steps ----------------------------------------------------------------------------

    def _batches(self, **_: Any) -> Iterator[Batch]:
        """Yield a batch for each step; end early if the job is to stop."""
        spec = self._spec
        if mx.metal.is_available():
            # The trainer wires its memory, with which macOS has panicked.
            mx.set_wired_limit(0)
        batches = training_batches(self._train, self._size, spec.seed, self._first)
        for step, batch in enumerate(batches, self._first):
            if step > self._first and step % spec.save_every == 0:
                self._save(step)
            try:
                self._channel.check()
            except StopWanted as stop:
                self._end_early(step, stop)
                return
            if step % spec.validate_every == 0:
                self._validate(step)
            if step % spec.sample_every == 0:
                self._show_samples(step)
            self._model.train()
            # So the dropout of a step is the same after an interrupt.
            mx.random.seed(spec.seed + _SEEDS_APART * (step + 1))
            yield batch

    def _end_early(self, step: int, stop: StopWanted) -> None:
        self._stop = stop
        if not stop.keep:
            self._stop.text = "The training was stopped, and nothing of it is kept."
            return
        self._save(step)
        self._stop.text = (
            f"The training was stopped after {step} of {self._spec.steps} steps, and a checkpoint "
            "is saved. The same call goes on from there."
        )

    def _save(self, step: int) -> None:
        checkpoint.save(
            *(self._work, self._spec.fingerprint, step, self._curve, self._model, self._optimizer)
        )

    def _validate(self, step: int) -> None:
        """Measure the loss of the examples that are held out."""
        if not self._held_out:
            return
        self._model.eval()
        loss, count = mx.array(0.0), mx.array(0)
        for batch in all_batches(self._held_out, self._size):
            one, tokens = default_loss(self._model, *batch)
            loss, count = loss + one * tokens, count + tokens
            mx.eval(loss, count)
        self._record("validation", {"step": step, "loss": (loss / count).item()})

    def _show_samples(self, step: int) -> None:
        """Let the adapter so far answer some prompts."""
        self._model.eval()
        for number, (example, tokens) in enumerate(self.prompts):
            text = self._tokenizer.decode(self._answer(tokens), skip_special_tokens=False)
            values: dict[str, JobValue] = {
                "step": step,
                "prompt": _text(example.messages[-2:-1]),
                "expected": _text(example.messages[-1:]),
                "number": number,
                "text": text.strip(),
            }
            self._record("sample", values)

    def _answer(self, prompt: list[int]) -> list[int]:
        answer: list[int] = []
        for token, _ in generate_step(mx.array(prompt), self._model, max_tokens=_SAMPLE_TOKENS):
            if int(token) in self._tokenizer.eos_token_ids:
                break
            answer.append(int(token))
        return answer

    def _record(self, name: str, values: dict[str, JobValue]) -> None:
        self._curve.append((name, values))
        self._channel.record(name, **values)


def _text(messages: list[dict[str, Any]]) -> str:
    """Return the content of a message, or its tool calls, in short."""
    message = messages[0] if messages else {}
    content = message.get("content")
    if message.get("tool_calls"):
        calls = [call.get("function", call) for call in message["tool_calls"]]
        content = ", ".join(f"{call.get('name')}({call.get('arguments')})" for call in calls)
    return str(content or "")[:_SHOWN_CHARACTERS]
