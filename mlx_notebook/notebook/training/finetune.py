"""`finetune` and `merge`: adapters trained on the server, and models of their own."""

from dataclasses import dataclass, field
from typing import Any, Literal

from mlx_notebook.notebook.connection import connection
from mlx_notebook.notebook.errors import NotebookError
from mlx_notebook.notebook.jobs.job_follower import run_job
from mlx_notebook.notebook.tools.tool import Tools
from mlx_notebook.notebook.training.training_examples import Conversation, conversations, split
from mlx_notebook.notebook.training.training_view import TrainingView


@dataclass(frozen=True)
class FinetunedModel:
    """A model with an adapter that `finetune` has trained.

    Attributes
    ----------
    name
        Its name for every client of the server: `model+adapter`.
    train_loss, validation_loss
        The last losses; None without examples that are held out.
    steps, seconds
        How long the training was.
    curve
        The losses by step: `{"train": [(step, loss), ...], "validation": [...]}`. Empty if the
        adapter was trained before.
    held_out
        The conversations that were not learned, to measure the adapter with.
    """

    name: str
    train_loss: float
    validation_loss: float | None
    steps: int
    seconds: float
    curve: dict[str, list[tuple[int, float]]] = field(default_factory=dict, repr=False)
    held_out: list[Conversation] = field(default_factory=list, repr=False)

    def merge(self, name: str, *, dequantize: bool = False, show: bool = True) -> str:
        """Write a model of its own with the adapter in its weights, as `mlx_notebook.merge`."""
        return merge(self.name, name, dequantize=dequantize, show=show)


def finetune(
    model: str,
    data: Any,
    *,
    name: str,
    method: Literal["lora", "dora", "qlora"] = "lora",
    prompt: str = "prompt",
    answer: str | None = None,
    system: str | None = None,
    tools: Tools | None = None,
    held_out: Any = 0.1,
    steps: int | None = None,
    batch_size: int = 4,
    learning_rate: float = 1e-4,
    seed: int = 0,
    samples: int = 2,
    replace: bool = False,
    show: bool = True,
    **settings: Any,
) -> FinetunedModel:
    """Train an adapter on examples, so that `model+name` answers as they do.

    The server trains in a process of its own, and answers requests meanwhile. Only the answers are
    learned, with the model's chat template and its dialect of tool calls. An interrupt saves a
    checkpoint, and the same call goes on from it with the same result. An adapter that was trained
    from the same data and settings is not trained again.

    Parameters
    ----------
    model
        Name of the model to train on. It stays as it is.
    data
        A pandas or polars DataFrame, or a list of dicts or of pairs. A row has a prompt and an
        answer, or `messages` in OpenAI's format of which the last one is learned, and perhaps
        `tools`. An answer that is a dict of `name` and `arguments`, or a list of such, is learned
        as tool calls.
    name
        Name of the adapter.
    method
        `lora`, `dora` (more exact, slower), or `qlora` (the base is quantised while it trains).
    prompt, answer
        Names of the columns. The answer's is `answer`, `completion` or `response` by default.
    system
        The system message of all rows that have none.
    tools
        The tools that the rows may call.
    held_out
        The share of the rows that only measure, chosen by the seed; or a table of its own.
    steps
        How many steps. By default so many that each row is learned three times.
    batch_size
        Rows of a step.
    learning_rate
        How far a step goes. It rises for a tenth of the steps and then falls.
    seed
        For the split, the order and the first weights.
    samples
        How many prompts the adapter so far answers while it trains.
    replace
        Whether to train although another adapter has the name, and to replace it.
    show
        Whether to show the losses, the time left and the samples.
    settings
        Other fields of `mlx/jobs`: `rank`, `scale`, `dropout`, `layers`, `max_tokens` (longer rows
        are left out, and listed), `grad_checkpoint` (less memory, slower), `validate_every`,
        `sample_every`, `save_every`.

    Returns
    -------
    FinetunedModel
        The name of the model with the adapter, and the figures of the training.

    Raises
    ------
    NotATable
        If a row cannot be learned.
    DoesNotFit
        If the training needs more memory than the server has for models.
    JobFailed
        If it failed.
    Interrupted
        On a kernel interrupt, once a checkpoint is saved.
    NotebookError
        If the server refuses it.

    Examples
    --------
    >>> tuned = mlx_notebook.finetune("tiny-chat", facts, name="facts", steps=200)
    >>> Chat(model=tuned.name).ask("Who built the harbour?")
    """
    rows = conversations(data, prompt=prompt, answer=answer, system=system, tools=tools)
    if isinstance(held_out, int | float):
        learned, measured = split(rows, held_out, seed)
    else:
        learned = rows
        measured = conversations(held_out, prompt=prompt, answer=answer, system=system, tools=tools)
    request = {
        "kind": "finetune",
        "model": model,
        "name": name,
        "train": learned,
        "held_out": measured,
        "prompts": (measured or learned)[:samples],
        "method": method,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "seed": seed,
        "replace": replace,
        **({"steps": steps} if steps is not None else {}),
        **settings,
    }
    view = TrainingView(shown=show)
    result = run_job(connection.connect(), request, view.update)
    return FinetunedModel(
        name=str(result["model"]),
        train_loss=float(result["train_loss"]),
        validation_loss=result["validation_loss"],
        steps=int(result["steps"]),
        seconds=float(result["seconds"]),
        curve={"train": view.train, "validation": view.validation},
        held_out=measured,
    )


def merge(model: str, name: str, *, dequantize: bool = False, show: bool = True) -> str:
    """Write a model of its own from a model and its adapter.

    The new model needs neither of the two. Its folder is in mlx-lm's format, to use elsewhere.

    Parameters
    ----------
    model
        The model with its adapter, `model+adapter`.
    name
        Name of the new model.
    dequantize
        Whether to write full weights in place of quantised ones.
    show
        Whether to print the folder of the new model.

    Returns
    -------
    str
        The new model's name, for every client of the server.

    Raises
    ------
    NotebookError
        If there is no such adapter, the name is taken, or the job fails.
    """
    if "+" not in model:
        raise NotebookError(f"{model!r} has no adapter to merge: name it as model+adapter.")
    request = {"kind": "merge", "model": model, "name": name, "dequantize": dequantize}
    result = run_job(connection.connect(), request, lambda job, records: None)
    if show:
        print(f"{result['model']} is a model of its own now, in {result['path']}")
    return str(result["model"])
