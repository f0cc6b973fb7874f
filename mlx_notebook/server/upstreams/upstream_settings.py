"""Check `MlxNotebookApp.upstreams`: the servers, their keys, and what they are sent."""

import re
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct

# A model of an upstream is named `upstream:model`. No repository on Hugging Face has a colon.
SEPARATOR = ":"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*")
# The server sends these itself, or reads the answer to them.
_OWN_HEADERS = frozenset(
    {
        *("authorization", "content-type", "content-length", "accept", "accept-encoding"),
        *("host", "connection", "transfer-encoding", "cookie"),
    }
)
_OWN_PARAMETERS = frozenset(
    {
        *("model", "messages", "prompt", "input", "instructions", "stream", "stream_options", "n"),
        *("tools", "tool_choice", "response_format", "store", "metadata", "background"),
        *("previous_response_id", "system", "thinking", "echo"),
        *("return_token_ids", "prompt_logprobs"),
    }
)
CAPABILITIES = ("chat", "vision", "tools", "reasoning", "embeddings")

_Text = Annotated[str, Meta(min_length=1, max_length=512)]
_Seconds = Annotated[float, Meta(ge=1, le=86400)]


class UpstreamSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of one upstream.

    Attributes
    ----------
    url
        Base URL of its API, for example `https://host/v1`.
    key_env, key_file
        Environment variable or file that holds its key.
    key_header
        Header that carries the key. Default: `Authorization: Bearer`.
    headers
        More headers of each request.
    models
        Its models: a list of names, or a dictionary from names to capabilities. Default: all that
        its `models` route lists.
    extra
        Parameters that it takes beyond OpenAI's API, for example `top_k`.
    rename
        Other names that it has for parameters.
    timeout
        Longest pause in its answer, in seconds.
    max_requests
        Most requests that run there at a time.
    max_answer_bytes
        Largest answer, in bytes.
    stream_usage
        Whether to ask for token counts in streams (`stream_options`).
    users, groups
        Users and groups of JupyterHub that may use it. Default: all.
    """

    url: _Text
    key_env: _Text | None = None
    key_file: _Text | None = None
    key_header: _Text | None = None
    headers: dict[str, str] = {}
    models: list[_Text] | dict[str, list[str]] | None = None
    extra: list[_Text] = []
    rename: dict[_Text, _Text] = {}
    timeout: _Seconds = 300.0
    max_requests: Annotated[int, Meta(ge=1, le=10_000)] = 64
    max_answer_bytes: Annotated[int, Meta(ge=1024)] = 64 * 1024 * 1024
    stream_usage: bool = True
    users: list[_Text] = []
    groups: list[_Text] = []

    @property
    def base(self) -> str:
        """Base URL without a slash at its end."""
        return self.url.rstrip("/")

    @property
    def host(self) -> str:
        """Host and port, as the URL names them."""
        return urlsplit(self.url).netloc

    @property
    def is_local(self) -> bool:
        """Whether it runs on this machine."""
        name = urlsplit(self.url).hostname or ""
        return name in ("localhost", "::1") or name.startswith("127.")


def check_upstreams(given: Mapping[str, Any]) -> dict[str, UpstreamSettings]:
    """Check the upstreams of Jupyter's configuration, and return them by name.

    Raises
    ------
    ValueError
        If one is invalid. The message says which and why, and contains no key.
    """
    return {name: _check(name, settings) for name, settings in given.items()}


def _check(name: str, given: Any) -> UpstreamSettings:
    where = f"upstreams[{name!r}]"
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{where}: the name of an upstream has up to 32 letters, digits, '-' and '_', and "
            "begins with a letter"
        )
    if isinstance(given, Mapping):
        given = dict(given)
        known = UpstreamSettings.__struct_fields__
        if secret := next((each for each in ("key", "api_key", "token") if each in given), None):
            raise ValueError(
                f"{where}: {secret!r} is not possible, since settings are shown in many places: "
                "put the key into an environment variable (key_env) or a file (key_file)"
            )
        if unknown := sorted(set(given) - set(known)):
            raise ValueError(f"{where}: there is no {unknown[0]!r}, only {', '.join(known)}")
    try:
        settings = msgspec.convert(given, UpstreamSettings)
    except msgspec.ValidationError as error:
        raise ValueError(f"{where}: {str(error)[0].lower()}{str(error)[1:]}") from None
    if fault := _url_fault(settings.url) or _fault(settings):
        raise ValueError(f"{where}: {fault}")
    return settings


def _url_fault(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return "its url is not valid"
    if parts.username is not None or parts.password is not None:
        return "its url contains a user name or a password: use key_env or key_file"
    if not usable or parts.query or parts.fragment or not url.isprintable() or " " in url:
        return "its url must look like 'https://host/v1'"
    return None


def _fault(settings: UpstreamSettings) -> str | None:
    if settings.key_env and settings.key_file:
        return "it has both key_env and key_file: set one of them"
    for header in (*settings.headers, *([settings.key_header] if settings.key_header else ())):
        if not _HEADER.fullmatch(header):
            return f"{header!r} is not the name of a header"
    for header, value in settings.headers.items():
        if header.lower() in _OWN_HEADERS:
            return f"headers cannot set {header!r}: use key_env or key_file for the key"
        if not _HEADER_VALUE.fullmatch(value):
            return f"the value of the header {header!r} is not valid"
    if own := sorted(_OWN_PARAMETERS & {*settings.extra, *settings.rename}):
        return f"{own[0]!r} cannot be in extra or rename: the server sets or reads it itself"
    if isinstance(settings.models, dict):
        given = {each for capabilities in settings.models.values() for each in capabilities}
        if unknown := sorted(given - set(CAPABILITIES)):
            return f"there is no capability {unknown[0]!r}, only {', '.join(CAPABILITIES)}"
    if settings.models is not None and not settings.models:
        return "its models are an empty list: leave them out for all that it lists"
    return None
