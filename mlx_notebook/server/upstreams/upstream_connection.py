"""Send requests to one upstream over HTTP, with limits on time and size.

The key goes to the configured URL only: redirects are not followed, cookies are not kept, and what
the upstream writes is shown without the key.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import msgspec

from mlx_notebook import __version__
from mlx_notebook.server.errors import UpstreamError
from mlx_notebook.server.upstreams.upstream_keys import UpstreamKey
from mlx_notebook.server.upstreams.upstream_settings import UpstreamSettings

if TYPE_CHECKING:
    import httpx2

_CONNECT_SECONDS = 10.0
_MOST_ERROR_BYTES = 64 * 1024
_LONGEST_MESSAGE = 1000
_LONGEST_NAME = 200
_RETRY_AFTER = re.compile(r"[0-9]{1,6}|[A-Za-z]{3}, [0-9]{2} [A-Za-z]{3} [0-9]{4} [0-9:]{8} GMT")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


class UpstreamConnection:
    """The HTTP client of one upstream. It is made at the first request.

    Parameters
    ----------
    name
        Name of the upstream.
    settings
        Its settings.
    key
        Its key.
    """

    def __init__(self, name: str, settings: UpstreamSettings, key: UpstreamKey) -> None:
        self.name = name
        self._settings = settings
        self._key = key
        self._client: httpx2.AsyncClient | None = None
        self._making = asyncio.Lock()

    @asynccontextmanager
    async def answer(
        self,
        method: str,
        route: str,
        body: bytes | None = None,
        trace_context: Mapping[str, str] | None = None,
    ) -> AsyncIterator["httpx2.Response"]:
        """Send a request, and give its answer, whose body has not been read yet.

        When the block ends, the connection is closed if the body was not read to its end.

        Parameters
        ----------
        method, route, body
            The request.
        trace_context
            The headers by which the upstream's spans become children of the span of our client's
            request.

        Raises
        ------
        UpstreamError
            If the upstream cannot be reached, or refuses the request.
        """
        client = await self._ready_client()
        headers = {
            **(trace_context or {}),
            **await asyncio.to_thread(self._key.headers),
            "Accept": "text/event-stream, application/json",
            # A compressed answer could be small on the way and fill the memory.
            "Accept-Encoding": "identity",
            "User-Agent": f"mlx-notebook/{__version__}",
            **({"Content-Type": "application/json"} if body is not None else {}),
        }
        url = f"{self._settings.base}/{route}"
        with self._explained():
            async with client.stream(method, url, content=body, headers=headers) as response:
                if not response.is_success:
                    raise await self._refusal(response)
                if response.headers.get("content-encoding", "identity") != "identity":
                    raise self.fault("answered with a compressed body, which was not asked for")
                yield response

    async def pieces(self, response: "httpx2.Response") -> AsyncIterator[bytes]:
        """Yield the body of an answer as it arrives.

        Raises
        ------
        UpstreamError
            If it breaks off, takes too long, or is too large.
        """
        limit, size = self._settings.max_answer_bytes, 0
        with self._explained():
            async for piece in response.aiter_raw():
                size += len(piece)
                if size > limit:
                    raise self.fault(
                        f"answered with more than {limit:,} bytes, the most that the setting "
                        "max_answer_bytes allows"
                    )
                yield piece

    async def body(self, response: "httpx2.Response") -> bytes:
        """Return the whole body of an answer.

        Raises
        ------
        UpstreamError
            If it breaks off, takes too long, or is too large.
        """
        return b"".join([piece async for piece in self.pieces(response)])

    def fault(self, what: str) -> UpstreamError:
        """Return the error for a fault of the upstream, of which `what` is the predicate."""
        return UpstreamError(f"The upstream {self.name!r} {what}.")

    def late(self, what: str) -> UpstreamError:
        """Return the error for an upstream that is too slow."""
        return UpstreamError(
            f"The upstream {self.name!r} {what}.", status=504, code="upstream_timeout"
        )

    def reported(
        self, error: Any, status: int, headers: dict[str, str] | None = None
    ) -> UpstreamError:
        """Return an error that the upstream reports.

        Parameters
        ----------
        error
            Its error object or message.
        status
            Its HTTP status.
        """
        inner = error.get("error", error) if isinstance(error, dict) else error
        fields = inner if isinstance(inner, dict) else {}
        said = (
            fields.get("message") or fields.get("detail") or (inner if inner is not fields else "")
        )
        message = said if isinstance(said, str) else msgspec.json.encode(said).decode()
        name, param = fields.get("code"), fields.get("param")
        return UpstreamError(
            f"The upstream {self.name!r} answered {status}: "
            f"{self.shown(message, _LONGEST_MESSAGE) or 'no message'}",
            status=_status_for_client(status),
            own_code=self.shown(name, 100) if isinstance(name, str) and status != 401 else None,
            param=self.shown(param, _LONGEST_NAME) if isinstance(param, str) else None,
            headers=headers,
        )

    def shown(self, text: str, length: int) -> str:
        """Return a text of the upstream on one line, without the key, up to a length."""
        text = _CONTROL.sub(" ", self._key.hide(text)).strip()
        return text if len(text) <= length else f"{text[:length]}..."

    async def close(self) -> None:
        """Close all connections."""
        if self._client is not None:
            await self._client.aclose()

    async def _refusal(self, response: "httpx2.Response") -> UpstreamError:
        """Return the error for an answer that is not a success."""
        status = response.status_code
        if 300 <= status < 400:
            target = urlsplit(urljoin(str(response.url), response.headers.get("location", "")))
            place = f"{target.scheme}://{target.netloc.rpartition('@')[2]}{target.path}"
            return self.fault(
                f"redirects to {self.shown(place, _LONGEST_NAME)}, which is not followed: set its "
                "url to where its API is"
            )
        body = bytearray()
        async for piece in response.aiter_raw():
            body += piece
            if len(body) > _MOST_ERROR_BYTES:
                break
        try:
            answer = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            answer = body.decode("utf-8", "replace")
        again = response.headers.get("retry-after", "")
        headers = {"Retry-After": again} if _RETRY_AFTER.fullmatch(again) else {}
        if status == 401:
            return self.reported(
                f"it does not accept the key that this server has for it "
                f"(MlxNotebookApp.upstreams): {_message(answer)}",
                status,
                {"x-should-retry": "false"},
            )
        return self.reported(answer, status, headers)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn errors of the HTTP client into errors for our client."""
        import httpx2

        host = self._settings.host
        try:
            yield
        except (httpx2.ConnectTimeout, httpx2.ConnectError) as error:
            why = self.shown(str(error), 200) or "no answer"
            raise UpstreamError(
                f"The upstream {self.name!r} cannot be reached at {host}: {why}.",
                status=503,
                code="upstream_unreachable",
            ) from None
        except httpx2.TimeoutException:
            raise self.late(
                f"has sent nothing for {self._settings.timeout:g} seconds (its setting timeout)"
            ) from None
        except (httpx2.HTTPError, httpx2.StreamError, httpx2.InvalidURL) as error:
            raise self.fault(
                f"broke off the answer: {self.shown(str(error), 200) or type(error).__name__}"
            ) from None

    async def _ready_client(self) -> "httpx2.AsyncClient":
        async with self._making:
            if self._client is None:
                # The import and the certificates take time.
                self._client = await asyncio.to_thread(self._make_client)
            return self._client

    def _make_client(self) -> "httpx2.AsyncClient":
        import httpx2

        settings = self._settings
        return httpx2.AsyncClient(
            timeout=httpx2.Timeout(settings.timeout, connect=_CONNECT_SECONDS),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=8),
            follow_redirects=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            # A proxy of the environment is for other machines.
            trust_env=not settings.is_local,
        )


def _status_for_client(status: int) -> int:
    """Return the status for our client, whose own token is not the upstream's key."""
    return status if 400 <= status <= 599 and status not in (401, 407) else 502


def _message(error: Any) -> str:
    inner = error.get("error", error) if isinstance(error, dict) else error
    message = inner.get("message", "") if isinstance(inner, dict) else inner
    return str(message)
