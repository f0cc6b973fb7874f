import json
import re

import httpx
import pytest

from tests.server.running import HELLO, TOKEN, RunningServer, running

ROUTES = [
    ("POST", "v1/chat/completions"),
    ("GET", "v1/models"),
    ("GET", "v1/models/tiny-chat"),
    ("GET", "v1/openapi.json"),
    ("GET", "health"),
    ("GET", "mlx/status"),
    ("GET", "mlx/events"),
    ("POST", "mlx/models/load"),
    ("POST", "mlx/models/unload"),
    ("POST", "mlx/cancel/x"),
    ("GET", "v1/nonesuch"),
    ("POST", "mlx/nonesuch"),
]
BODY = json.dumps({"messages": HELLO, "max_tokens": 2}).encode()


def code_of(response: httpx.Response) -> str:
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return str(error["code"])


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer wrong"}, {"x-api-key": "wrong"}],
    ids=["no token", "wrong token", "wrong x-api-key"],
)
def test_no_route_answers_without_the_token(
    server: RunningServer, method: str, path: str, headers: dict[str, str]
) -> None:
    response = httpx.request(method, server.url + path, headers=headers, content=b"{}")
    assert response.status_code == 401
    assert code_of(response) == "invalid_api_key"
    assert "Authorization: Bearer" in response.json()["error"]["message"]
    assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {TOKEN}"},
        {"Authorization": f"token {TOKEN}"},
        {"x-api-key": TOKEN},
    ],
)
def test_the_token_is_taken_as_clients_send_it(
    server: RunningServer, headers: dict[str, str]
) -> None:
    url = server.url + "v1/chat/completions"
    response = httpx.post(url, headers=headers, content=BODY, timeout=60)
    assert response.status_code == 200
    assert "set-cookie" not in response.headers
    assert httpx.post(url, params={"token": TOKEN}, content=BODY, timeout=60).status_code == 200


def test_a_login_cookie_alone_does_not_pass_for_a_foreign_page(server: RunningServer) -> None:
    with httpx.Client(base_url=server.url) as browser:
        browser.get("api/status", params={"token": TOKEN}).raise_for_status()
        assert browser.cookies
        assert browser.get("v1/models").status_code == 200
        response = browser.post("v1/chat/completions", content=BODY)
        assert response.status_code == 401
        response = browser.post(
            "v1/chat/completions", content=BODY, headers={"Origin": "https://evil.example"}
        )
        assert response.status_code in (401, 403)


def test_a_server_without_a_token_says_what_to_do() -> None:
    with running(token="") as server:
        response = httpx.post(server.url + "v1/chat/completions", content=BODY)
        assert response.status_code == 401
        assert code_of(response) == "token_needed"
        assert httpx.get(server.url + "v1/models").status_code == 200
        head = {"Connection": "Upgrade", "Upgrade": "websocket"}
        response = httpx.get(server.url + "v1/responses", headers=head)
        assert (response.status_code, code_of(response)) == (401, "token_needed")


def test_a_foreign_host_name_is_refused(server: RunningServer) -> None:
    response = server.client.get("v1/models", headers={"Host": "evil.example"})
    assert response.status_code == 403
    assert code_of(response) == "host_not_allowed"


@pytest.mark.parametrize("path", ["v1", "v1/nonesuch", "v1/chat/nonesuch", "mlx/nonesuch"])
def test_an_unknown_route_is_told_in_the_apis_words(server: RunningServer, path: str) -> None:
    for method in ("GET", "POST", "PUT", "DELETE"):
        response = server.client.request(method, path)
        assert response.status_code == 404
        assert code_of(response) == "unknown_route"


@pytest.mark.parametrize(("method", "path"), ROUTES[:-2])
def test_a_method_that_a_route_does_not_take_is_told(
    server: RunningServer, method: str, path: str
) -> None:
    taken = {"GET", "POST"} if path == "v1/chat/completions" else {method}
    for wrong in {"GET", "POST", "PUT", "PATCH", "DELETE"} - taken:
        response = server.client.request(wrong, path)
        if response.status_code == 404:  # v1/models/{id} of `mlx/models/load` and the like
            continue
        assert response.status_code == 405, (wrong, path)
        assert code_of(response) == "method_not_allowed"
        assert method in response.headers["allow"]
    assert server.client.request("BREW", path).status_code == 405


def test_jupyters_own_pages_keep_their_own_errors(server: RunningServer) -> None:
    assert "error" not in server.client.get("api/nonesuch").text[:10]
    assert server.client.get("api/kernels").json() == []


ORIGIN = "https://app.example"
PREFLIGHT = {
    "Origin": ORIGIN,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": (
        "authorization,content-type,x-stainless-os,x-stainless-retry-count"
    ),
}


class TestBrowsers:
    def test_no_foreign_origin_is_allowed_by_itself(self, server: RunningServer) -> None:
        response = httpx.options(server.url + "v1/chat/completions", headers=PREFLIGHT)
        assert response.status_code == 204
        assert "access-control-allow-origin" not in response.headers

    @pytest.mark.parametrize(
        "option",
        [
            "--ServerApp.allow_origin=https://app.example",
            r"--ServerApp.allow_origin_pat=https://.*\.example",
            "--ServerApp.allow_origin=*",
        ],
    )
    def test_an_allowed_origin_may_use_openais_sdk(self, option: str) -> None:
        with running(options=(option,)) as server:
            url = server.url + "v1/chat/completions"
            response = httpx.options(url, headers=PREFLIGHT)
            assert response.status_code == 204
            allowed = "*" if option.endswith("*") else ORIGIN
            assert response.headers["access-control-allow-origin"] == allowed
            names = re.split(", *", response.headers["access-control-allow-headers"])
            assert {"authorization", "content-type", "x-stainless-os"} <= set(names)
            assert {"x-api-key", "anthropic-version", "x-stainless-retry-count"} <= set(names)
            assert "POST" in response.headers["access-control-allow-methods"]
            assert int(response.headers["access-control-max-age"]) > 0

            headers = {"Origin": ORIGIN, **server.headers}
            for content, status in ((BODY, 200), (b"{", 400)):
                response = httpx.post(url, headers=headers, content=content, timeout=60)
                assert response.status_code == status
                assert response.headers["access-control-allow-origin"] == allowed

            if allowed != "*":
                other = {**PREFLIGHT, "Origin": "https://evil.invalid"}
                response = httpx.options(url, headers=other)
                assert response.headers.get("access-control-allow-origin") != other["Origin"]


def test_every_route_is_protected_where_jupyter_insists_on_it() -> None:
    with running(options=("--ServerApp.allow_unauthenticated_access=False",)) as server:
        assert not re.search("registered for /nb/(v1|mlx|health)", server.log)
        response = httpx.post(server.url + "v1/chat/completions", content=BODY)
        assert response.status_code == 401
        assert server.works()


def test_every_verb_of_every_handler_asks_for_the_token() -> None:
    from jupyter_server.serverapp import _has_tornado_web_authenticated
    from tornado.web import RequestHandler

    from mlx_notebook.server.api.routing.routes import ROUTES

    for pattern, handler in ROUTES:
        for verb in ("get", "post", "put", "patch", "delete", "head"):
            method = getattr(handler, verb)
            if method is not RequestHandler._unimplemented_method:
                assert _has_tornado_web_authenticated(method), (pattern, verb)
                assert method.__wrapped__.__qualname__ != "authorized", (pattern, verb)
