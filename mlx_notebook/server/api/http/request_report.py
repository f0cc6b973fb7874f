"""Report one request, and what models and tools do for it, if OpenTelemetry is on."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from tornado.httputil import HTTPServerRequest

from mlx_notebook.server.errors import ApiError
from mlx_notebook.server.telemetry.reports import (
    ReportedCall,
    ReportedOperation,
    Reporter,
    RequestSpan,
)

# The headers of W3C's trace context.
_PARENT = ("traceparent", "tracestate")


class RequestReport:
    """Report one request. Its span begins with the first thing that is reported of it.

    Parameters
    ----------
    request
        The request.
    route
        Name of its route.
    reporter
        Where to report; None for nowhere.

    Attributes
    ----------
    error
        Code of the error that the client gets, or "".
    """

    def __init__(self, request: HTTPServerRequest, route: str, reporter: Reporter | None) -> None:
        self._request = request
        self._route = route
        self._reporter = reporter
        self._span: RequestSpan | None = None
        self.error = ""

    @property
    def context(self) -> dict[str, str]:
        """The headers by which what is reported becomes a child of this request's span."""
        span = self._begun()
        return {} if span is None else dict(span.context)

    @contextmanager
    def operation(self, name: str, model: str, id: str) -> Iterator[ReportedOperation]:
        """Report what a model does in the block, with the error that ends it."""
        began = time.monotonic()
        operation = ReportedOperation(name=name, model=model, id=id, began=time.time())
        context = self.context
        try:
            yield operation
        except ApiError as error:
            operation.error, operation.message = error.code, error.message
            raise
        except asyncio.CancelledError:
            operation.error = "request_cancelled"
            raise
        except Exception:
            operation.error = ApiError.default_code
            raise
        finally:
            operation.seconds = time.monotonic() - began
            if self._reporter is not None:
                self._reporter.report(operation, context)

    def call(self, call: ReportedCall) -> AbstractContextManager[ReportedCall]:
        """Report a call of a tool that is made in the block."""
        if self._reporter is None:
            return nullcontext(call)
        return self._reporter.running(call, self.context)

    def end(self, status: int) -> None:
        """Report the end of the answer.

        A request for which nothing else is reported is reported if it failed.
        """
        if self._span is None and not self.error:
            return
        if (span := self._begun()) is not None:
            span.end(status, self.error)

    def _begun(self) -> RequestSpan | None:
        if self._span is None and self._reporter is not None:
            request = self._request
            assert request.method is not None
            parent = {name: request.headers[name] for name in _PARENT if name in request.headers}
            self._span = self._reporter.begin_request(
                request.method, self._route, parent, request._start_time
            )
        return self._span
