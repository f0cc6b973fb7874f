"""Request and response types of `mlx/jobs`."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from mlx_notebook.protocol import JobValue, TrainingExample

JobState = Literal["waiting", "running", "stopping", "finished", "stopped", "failed"]

_Name = Annotated[str, Meta(min_length=1, max_length=200)]
# The name of a folder: no separators, no leading dot, no line break at the end.
_FolderName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$(?!\n)")]
_Count = Annotated[int, Meta(ge=0, le=10_000_000)]
_Positive = Annotated[int, Meta(ge=1, le=10_000_000)]
_Examples = Annotated[list[TrainingExample], Meta(max_length=1_000_000)]


class FinetuneRequest(
    Struct, kw_only=True, frozen=True, tag_field="kind", tag="finetune", forbid_unknown_fields=True
):
    """Train an adapter `name` for a model: `model+name` then answers.

    Attributes
    ----------
    train, held_out
        Conversations to learn (the last message of each, an assistant's), and those that only
        measure.
    prompts
        Conversations that the adapter so far answers, to show what it has learned.
    steps
        How many steps. None: three times through all examples.
    validate_every, sample_every, save_every
        Numbers of steps; None: ten, five and five times in all.
    grad_checkpoint
        Compute each layer twice, which takes less memory.
    replace
        Train it although another adapter has the name, and replace that.
    """

    model: _Name
    name: _FolderName
    train: Annotated[list[TrainingExample], Meta(min_length=1, max_length=1_000_000)]
    held_out: _Examples = []
    prompts: Annotated[list[TrainingExample], Meta(max_length=8)] = []
    method: Literal["lora", "dora", "qlora"] = "lora"
    steps: _Positive | None = None
    batch_size: Annotated[int, Meta(ge=1, le=1024)] = 4
    learning_rate: Annotated[float, Meta(gt=0, le=1)] = 1e-4
    seed: Annotated[int, Meta(ge=0, lt=2**31)] = 0
    rank: Annotated[int, Meta(ge=1, le=1024)] = 8
    scale: Annotated[float, Meta(gt=0, le=1000)] = 20.0
    dropout: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    layers: Annotated[int, Meta(ge=-1, le=10_000)] = -1
    max_tokens: Annotated[int, Meta(ge=8, le=1_000_000)] = 2048
    validate_every: _Positive | None = None
    sample_every: _Positive | None = None
    save_every: _Positive | None = None
    grad_checkpoint: bool = False
    replace: bool = False


class MergeRequest(
    Struct, kw_only=True, frozen=True, tag_field="kind", tag="merge", forbid_unknown_fields=True
):
    """Write a model `name` of its own from `model`, which is named `base+adapter`.

    `dequantize` writes full weights in place of quantised ones.
    """

    model: _Name
    name: _FolderName
    dequantize: bool = False


class ConvertRequest(Struct, kw_only=True, frozen=True, tag_field="kind", tag="convert"):
    """Write the model `model` anew as `name`: quantised, or from a GGUF file.

    Attributes
    ----------
    bits, group_size
        Bits of a weight, and how many weights share a scale. `bits` None: not quantised.
    recipe
        More bits for layers that need them, in place of `bits`.
    method
        `plain`, or `awq` or `dwq`, which look at the text. They give better models and take longer.
    dtype
        Type of the floats. None: that of the model.
    text
        The text whose perplexity is measured before and after. None: a text of ours, in English.
    """

    model: _Name
    name: _FolderName
    bits: Literal[2, 3, 4, 5, 6, 8] | None = 4
    group_size: Literal[32, 64, 128] = 64
    recipe: Literal["mixed_2_6", "mixed_3_4", "mixed_3_6", "mixed_4_6"] | None = None
    method: Literal["plain", "awq", "dwq"] = "plain"
    dtype: Literal["float16", "bfloat16", "float32"] | None = None
    text: Annotated[str, Meta(min_length=1, max_length=1_000_000)] | None = None


JobRequest = FinetuneRequest | MergeRequest | ConvertRequest


class StopJobRequest(Struct, forbid_unknown_fields=True):
    """How to stop a job. `keep`: save what is done, so that the same request goes on from it."""

    keep: bool = True


class JobPoint(Struct, frozen=True):
    """One entry of a job's record `name`, with its number in the job."""

    number: int
    name: str
    values: dict[str, JobValue]


class JobStatus(Struct, kw_only=True, frozen=True):
    """A job. Times are in Unix seconds, durations in seconds, memory in bytes.

    Attributes
    ----------
    state
        `waiting` for its turn or its memory, `running`, `stopping`, or how it ended.
    phase, done, total, unit
        What it does now, and how far it is. `total` 0: not known.
    seconds_left
        Of this phase; None if not known yet.
    memory
        Bytes of the budget that are kept free for it.
    notes
        Sentences that the user must see.
    result
        What it has made, once it is `finished`.
    message, code
        Why it was stopped or has failed, and the code of the error.
    own
        Whether it is the caller's.
    """

    id: str
    kind: str
    title: str
    model: str
    state: JobState
    own: bool
    created: float
    started: float | None
    ended: float | None
    phase: str
    done: int
    total: int
    unit: str
    seconds_left: float | None
    memory: int
    notes: list[str]
    result: dict[str, JobValue]
    message: str | None
    code: str | None


class JobList(Struct, frozen=True):
    """All jobs that the caller may see: those that have not ended, then the last ones."""

    jobs: list[JobStatus]


class JobDetail(Struct, frozen=True):
    """A job with what it has recorded. Of a long record every other entry is left out."""

    job: JobStatus
    records: list[JobPoint]


JOB_DECODER = msgspec.json.Decoder(JobRequest)
STOP_DECODER = msgspec.json.Decoder(StopJobRequest)
