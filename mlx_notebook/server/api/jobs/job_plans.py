"""The kinds of jobs: for each request, the function that checks it and makes a plan of it."""

from collections.abc import Awaitable, Callable
from typing import Any

from mlx_notebook.server.api.http.base import ApiHandler
from mlx_notebook.server.api.jobs.convert_plan import plan_conversion
from mlx_notebook.server.api.jobs.finetune_plan import plan_finetuning, plan_merge
from mlx_notebook.server.jobs.job_plan import JobPlan
from mlx_notebook.server.wire.native.job_types import (
    ConvertRequest,
    FinetuneRequest,
    MergeRequest,
)

PLANS: dict[type, Callable[[ApiHandler, Any], Awaitable[JobPlan]]] = {
    FinetuneRequest: plan_finetuning,
    MergeRequest: plan_merge,
    ConvertRequest: plan_conversion,
}
