"""Which ready requests join the batch of their model, and when."""

import time

from mlx_notebook.engine.generation.request import Request, RequestState
from mlx_notebook.engine.residency.model_queues import ModelQueues
from mlx_notebook.engine.residency.residency import Residency
from mlx_notebook.engine.residency.resident_model import ResidentModel
from mlx_notebook.engine.scheduling.live_requests import LiveRequests
from mlx_notebook.engine.scheduling.meter import Meter
from mlx_notebook.protocol import URGENT_ROWS, Event


class BatchAdmission:
    """Lets requests whose prompts are prepared join batches.

    Parameters
    ----------
    residency, queues, requests, meter
        Those of the scheduler.
    max_batch
        How many rows decode together.
    """

    def __init__(
        self,
        residency: Residency,
        queues: ModelQueues,
        requests: LiveRequests,
        meter: Meter,
        max_batch: int,
    ) -> None:
        self._residency, self._queues, self._requests = residency, queues, requests
        self._meter, self._max_batch = meter, max_batch

    def admit(self, events: list[Event]) -> None:
        """Add ready requests to the batches of their models while there are rows.

        Urgent ones come first, wait for no others, and have rows of their own when it is full.
        Patient ones join while nothing else is there. Users take turns. The requests of one user
        join in order.
        """
        for name, resident in self._residency.models.items():
            self._admit_urgent(resident, events)
            if not resident.ready or self._gathers(resident):
                continue
            held = self._residency.held.get(name)
            for request in list(resident.ready):
                if held is not None and request.arrived > held:
                    resident.ready.remove(request)
                    request.enter(RequestState.QUEUED)
                    self._queues.add(request.command)
            self._admit_some(resident, events, patient=False)
            if not self._requests.waited_for:
                self._admit_some(resident, events, patient=True)

    def _admit_some(self, resident: ResidentModel, events: list[Event], *, patient: bool) -> None:
        """Add the ready requests of a model that are patient, or all others."""
        ready = [one for one in resident.ready if one.command.patient == patient]
        if not ready:
            return
        most, share = self._max_batch, resident.share
        if patient:
            most, share = max(1, most // 2), resident.patient_share
        rows = self._requests.rows_of_users(resident.name, patient=patient)
        while ready:
            taken = resident.patient_rows
            if (taken if patient else resident.rows - taken) >= most:
                return
            waiting = [(one.command.user, one.command.n) for one in ready]
            if (index := share.next(waiting, rows, most)) is None:
                return
            request = ready.pop(index)
            resident.ready.remove(request)
            rows[request.command.user] += request.command.n
            self._join(request, resident, events)

    def _admit_urgent(self, resident: ResidentModel, events: list[Event]) -> None:
        """Add the urgent requests that are ready to a model's batch: a few of each user.

        Nobody types in more places at once. Any more of a user wait as all others do.
        """
        if resident.runner is None:
            return
        most = self._max_batch + URGENT_ROWS
        held = self._residency.held.get(resident.name)
        for request in [one for one in resident.ready if one.command.urgent]:
            taken = resident.runner.urgent_users.count(request.command.user)
            may_stay = held is None or request.arrived <= held
            if resident.rows < most and taken < URGENT_ROWS and may_stay:
                resident.ready.remove(request)
                self._join(request, resident, events)

    def _gathers(self, resident: ResidentModel) -> bool:
        """Return whether a model's ready requests wait for others that arrive with them."""
        now, alone = time.perf_counter(), 0.0
        if resident.runner is not None and len(resident.ready) == 1:
            alone = resident.runner.backend.wait_seconds(resident.ready[0].prompt_tokens)
        return resident.gathering.holds(preparing=bool(resident.preparing), now=now, alone=alone)

    def _join(self, request: Request, resident: ResidentModel, events: list[Event]) -> None:
        assert request.prepared is not None
        assert resident.runner is not None
        if not request.prepared.max_tokens:  # only its prompt was to be scored
            request.finish_without_tokens(events)
            self._requests.remove(request)
            return
        resident.runner.join(request, events)
        self._meter.count_prompt(request)
