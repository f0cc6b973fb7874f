"""What a job's process is to do: one struct for each kind of job.

A new kind of job needs five things:

1. its struct here, in the union `JobSpec`;
2. a function in `engine/` that does it, named in `engine/job_process.py` (`WORK`);
3. its request in `server/wire/native/job_types.py`, in the union `JobRequest`;
4. a function in `server/api/jobs/` that checks the request and makes a `JobPlan` of it, named in
   `server/api/jobs/job_plans.py` (`PLANS`);
5. a function in `notebook/` that posts the request to `mlx/jobs` and follows its events, with
   `notebook/jobs/job_follower.py`.
"""

import msgspec

from mlx_notebook.protocol.job_messages import TrainingExample


class FinetuneSpec(msgspec.Struct, kw_only=True, frozen=True, tag="finetune"):
    """Train an adapter for the model in the folder `path`.

    Attributes
    ----------
    model, path
        Name and folder of the base model.
    name, folder
        Name of the adapter, and the folder that it is moved to when it is finished.
    work
        Folder of the checkpoints until then.
    fingerprint
        What the adapter is made from: data, settings, files of the model. A checkpoint is continued
        only if it has the same.
    method
        `lora`, `dora` or `qlora`. `qlora` quantises the base to `bits` bits, if it is not yet.
    train, held_out
        The examples to learn, and those that only measure.
    prompts
        Messages that the adapter so far answers, to show what it has learned.
    steps, batch_size, learning_rate, seed
        How long, how many examples a step, how fast, and from which random numbers.
    rank, scale, dropout, layers
        Of the adapter; `layers` counts from the last one, -1: all.
    max_tokens
        Longest example. Longer ones are left out.
    validate_every, sample_every, save_every
        Numbers of steps; 0: only at the end.
    grad_checkpoint
        Compute each layer twice, which takes less memory.
    tool_dialect
        Name of the tool-call dialect. None: detected from the chat template.
    trust_remote_code
        Allow Python code from the model's folder.
    """

    model: str
    path: str
    name: str
    folder: str
    work: str
    fingerprint: str
    method: str
    train: list[TrainingExample]
    held_out: list[TrainingExample]
    prompts: list[TrainingExample]
    steps: int
    batch_size: int
    learning_rate: float
    seed: int
    rank: int
    scale: float
    dropout: float
    layers: int
    max_tokens: int
    validate_every: int
    sample_every: int
    save_every: int
    grad_checkpoint: bool = False
    bits: int = 4
    tool_dialect: str | None = None
    trust_remote_code: bool = False


class MergeSpec(msgspec.Struct, kw_only=True, frozen=True, tag="merge"):
    """Write a model of its own: the base model in `path` with the adapter in `adapter`.

    `folder` is the new model's. `dequantize` writes full weights in place of quantised ones.
    """

    model: str
    path: str
    adapter: str
    name: str
    folder: str
    dequantize: bool = False
    trust_remote_code: bool = False


class ConvertSpec(msgspec.Struct, kw_only=True, frozen=True, tag="convert"):
    """Write a model anew: with fewer bits, another type of floats, or from a GGUF file.

    Attributes
    ----------
    model, path
        Name of the model, and its folder or GGUF file.
    bytes
        Bytes of its weights, for the progress.
    name, folder
        Name and folder of the new model.
    work
        Folder of the new model until it is complete.
    bits, group_size
        How its weights are quantised; `bits` None: not at all.
    recipe
        Name of mlx-lm's recipe for layers with different bits. None: all have the same.
    method
        `plain`, `awq` or `dwq`. The last two look at the text.
    dtype
        Type of its floats. None: that of the model.
    text
        The text whose perplexity is measured before and after. None: `perplexity.TEXT`.
    trust_remote_code
        Allow Python code from the model's folder.
    """

    model: str
    path: str
    bytes: int
    name: str
    folder: str
    work: str
    text: str | None = None
    bits: int | None = 4
    group_size: int = 64
    recipe: str | None = None
    method: str = "plain"
    dtype: str | None = None
    trust_remote_code: bool = False


JobSpec = FinetuneSpec | MergeSpec | ConvertSpec
