"""Plan for a conversion: which model, which folder, how much memory."""

from mlx_notebook.model_files.machine_memory import full_precision
from mlx_notebook.protocol import ConvertSpec
from mlx_notebook.server.api.http.base import ApiHandler
from mlx_notebook.server.api.jobs.free_names import require_free
from mlx_notebook.server.api.model_lookup import find_model
from mlx_notebook.server.api.user_rules import check_permission, may_evict
from mlx_notebook.server.errors import InvalidRequest
from mlx_notebook.server.jobs.job_plan import JobPlan, JobResult
from mlx_notebook.server.model_errors import model_is_upstream
from mlx_notebook.server.models.catalog_entry import CatalogEntry
from mlx_notebook.server.wire.native.job_types import ConvertRequest

# The model, and what is computed with it. DWQ and AWQ hold a second one.
_COPIES = {"plain": 1.5, "awq": 3.0, "dwq": 3.0}


async def plan_conversion(handler: ApiHandler, request: ConvertRequest) -> JobPlan:
    """Check a request for a conversion, and plan it.

    Raises
    ------
    ApiError
        If the model cannot be converted, the settings contradict each other, or the name is taken.
    """
    services = handler.services
    entry = await find_model(handler, request.model)
    check_permission(handler, "jobs", entry.name)
    _check(entry, request)
    folder = services.new_models / request.name
    await require_free(services, folder, request.name)
    width = 4 if full_precision(services.supervisor.status.device) else 2

    async def finished(result: JobResult) -> JobResult:
        await services.catalog.refresh()
        return result

    return JobPlan(
        kind="convert",
        title=f"conversion of {entry.name} to {request.name}",
        model=entry.name,
        makes=str(folder),
        spec=ConvertSpec(
            model=entry.name,
            path=str(entry.path),
            bytes=entry.facts.weights.total,
            name=request.name,
            folder=str(folder),
            work=str(services.new_models / ".unfinished" / request.name),
            bits=request.bits,
            group_size=request.group_size,
            recipe=request.recipe,
            method=request.method,
            dtype=request.dtype,
            text=request.text,
            trust_remote_code=entry.options.trust_remote_code,
        ),
        bytes=int(entry.facts.parameters * width * _COPIES[request.method]),
        evict=may_evict(handler, entry.name),
        finished=finished,
    )


def _check(entry: CatalogEntry, request: ConvertRequest) -> None:
    """Check that a model can be converted, and with these settings.

    Raises
    ------
    InvalidRequest
        If not.
    """
    if entry.upstream is not None:
        raise model_is_upstream(entry.name, "It cannot be converted here")
    if entry.options.adapter is not None:
        raise InvalidRequest(
            f"The model {entry.name!r} has an adapter. Merge it into a model of its own first, and "
            "convert that.",
            param="model",
        )
    if not entry.is_text_model:
        kind = "takes images" if entry.takes_images else f"is for {entry.own_route}"
        raise InvalidRequest(
            f"The model {entry.name!r} {kind}, and only text models can be converted here.",
            param="model",
        )
    if request.method != "plain" and request.bits is None:
        raise InvalidRequest(
            f"'method' is {request.method!r}, which quantises: give 'bits' too.", param="bits"
        )
    if request.recipe is not None and (request.method == "awq" or request.bits is None):
        raise InvalidRequest(
            "'recipe' goes with 'bits' and with the methods 'plain' and 'dwq'.", param="recipe"
        )
