"""Load and unload models for the APIs of other programs, and keep them as long as requests ask."""

from mlx_notebook.protocol import Load, Loaded
from mlx_notebook.server.api.generation import GenerationHandler
from mlx_notebook.server.api.model_lookup import find_model
from mlx_notebook.server.api.native.model_management import local_name
from mlx_notebook.server.api.user_rules import check_permission, may_evict
from mlx_notebook.server.errors import ApiError
from mlx_notebook.server.identity import owner
from mlx_notebook.server.model_errors import model_is_upstream
from mlx_notebook.server.users.user_limits import Action
from mlx_notebook.server.wire.ids import new_id


class ModelMemoryHandler(GenerationHandler):
    """Base of routes whose requests say how long their model stays in memory."""

    def initialize(self) -> None:
        """Initialize the state of a request."""
        super().initialize()
        # The model of the request, and for how many seconds it is kept after the answer.
        self._kept: tuple[str, float] | None = None

    async def load(self, model: str) -> Loaded:
        """Load a model into memory.

        Raises
        ------
        ApiError
            If it cannot be loaded.
        """
        entry = await find_model(self, model)
        if entry.upstream is not None:
            raise model_is_upstream(entry.name, "There is nothing to load")
        command = Load(
            id=new_id("load-"),
            model=entry.name,
            path=str(entry.path),
            options=entry.options,
            user=self.user.name,
            evict=may_evict(self, entry.name),
        )
        return await self.services.engine.load(command, await owner(self))

    async def unload(self, model: str) -> str:
        """Unload a model from memory, and return its own name.

        Raises
        ------
        ApiError
            If there is no such model, it is in use, or the user may not unload it.
        """
        name = await local_name(self, model)
        check_permission(self, "unload", name)
        await self.services.engine.unload(name)
        return name

    def keep(self, model: str, seconds: float | None, param: str) -> None:
        """Note how long a model is to stay in memory after this request.

        If that cannot be done, the response lists the parameter among the ignored ones.

        Parameters
        ----------
        model
            The model's own name.
        seconds
            For how long; None for the server's own time, 0 for not at all.
        param
            Parameter of the request that says so.
        """
        if seconds is None:
            return
        resident = self.services.supervisor.telemetry.resident.get(model)
        is_pinned = resident is not None and resident.pinned
        rules = self.services.rates.limits.of(self.user)
        aliases = self.services.catalog.aliases_of(model)
        action: Action = "pin" if seconds else "unload"
        if self.services.catalog.source_of(model) == "upstream" or (
            not rules.allows(action, model, aliases) or (is_pinned and not seconds)
        ):
            self.report_ignored(param)
        else:
            self._kept = (model, seconds)

    async def keep_or_unload(self) -> None:
        """Do what `keep` has noted, after the answer.

        A model that others use at the moment is not unloaded.
        """
        if self._kept is None:
            return
        model, seconds = self._kept
        if seconds:
            self.services.keep_times.set(model, seconds)
            return
        try:
            await self.services.engine.unload(model)
        except ApiError as error:
            self.log.info("The model is kept although the request unloads it: %s", error.message)
