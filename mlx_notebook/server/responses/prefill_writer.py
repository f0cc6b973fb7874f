"""Write a response for which the model says nothing: it only computes the prompt."""

from msgspec.structs import replace

from mlx_notebook import protocol
from mlx_notebook.server.engine.request_stream import KeepAlive
from mlx_notebook.server.responses.response_writer import Events, ResponseWriter


class PrefillWriter(ResponseWriter):
    """Write one response without output, whatever the model says."""

    def _events_for(self, event: protocol.Event | KeepAlive) -> Events:
        match event:
            case protocol.Prefill() | protocol.Finished():
                yield from self._start()
            case protocol.Done(usage=usage):
                yield from self._done(replace(usage, completion=0, reasoning=0))
