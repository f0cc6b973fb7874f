"""A class: the Hub's users share one engine, from notebooks and from other programs."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import nbformat
import openai
import pytest

from tests.browser.conftest import SCREENS
from tests.browser.pages import connected, panel, run_cell
from tests.jupyterhub.running_hub import NotebookServer, RunningHub
from tests.server.running import HELLO, wait_for

SCOPE = "access:services!service=mlx"


@pytest.fixture(scope="module")
def servers(class_hub: RunningHub) -> Iterator[dict[str, NotebookServer]]:
    """The notebook servers of two users of the class, and of one who is not in it."""
    names = ("ann", "bob", "eve")
    class_hub.api("POST", "users/eve")
    with ThreadPoolExecutor(3) as pool:
        started = dict(zip(names, pool.map(class_hub.spawn, names), strict=True))
    yield started
    for server in started.values():
        server.client.close()


def test_the_hubs_tokens_open_the_service(class_hub: RunningHub) -> None:
    token = class_hub.user_token("ann", SCOPE)
    with openai.OpenAI(base_url=f"{class_hub.service_url}v1", api_key=token) as client:
        answer = client.chat.completions.create(
            model="tiny-chat", messages=HELLO, max_tokens=4, stream=True
        )
        assert len(list(answer)) > 3
    for user in ("teacher", "head"):
        with class_hub.service(class_hub.user_token(user)) as client:
            assert client.get("v1/models").status_code == 200
            # Not even an admin runs code as the service's user.
            assert client.post("api/kernels", json={}).status_code == 404


@pytest.mark.parametrize(
    ("user", "scopes", "status", "code"),
    [
        ("mallory", (), 403, "scope_missing"),
        ("ann", ("access:servers!user=ann",), 403, "scope_missing"),
        (None, (), 401, "invalid_api_key"),
    ],
    ids=["not-in-the-class", "token-for-other-things", "no-token-of-the-hub"],
)
def test_others_are_refused_and_told_why(
    class_hub: RunningHub, user: str | None, scopes: tuple[str, ...], status: int, code: str
) -> None:
    if user == "mallory":
        class_hub.api("POST", "users/mallory")
    token = class_hub.user_token(user, *scopes) if user else "made-up"
    with class_hub.service(token) as client:
        for _ in range(2):  # the second answer is a remembered one
            answer = client.post("v1/chat/completions", json={"messages": HELLO})
            assert answer.status_code == status
            error = answer.json()["error"]
            assert error["code"] == code
            assert (SCOPE if status == 403 else "/class/hub/token") in error["message"]


def test_a_notebook_finds_the_service_by_itself(
    class_hub: RunningHub, servers: dict[str, NotebookServer]
) -> None:
    traces: dict[str, set[str]] = {}
    for name in ("ann", "bob"):
        kernel = servers[name].kernel()
        try:
            kernel.run("%load_ext mlx_notebook")
            cell = kernel.run("%%chat --model tiny-chat --max-tokens 12\nHello! I am a user.")
            assert any(cell.markdown)
            kernel.run("import mlx_notebook; server = mlx_notebook.connect()")
            assert kernel.value("server.url") == class_hub.direct_url
            assert "the service of this JupyterHub" in kernel.run("%mlx status").said
            models = "[model.id for model in mlx_notebook.client().models.list()]"
            assert "tiny-chat" in kernel.value(models)
            listed = "[trace['id'] for trace in server.get('mlx/traces')['data']]"
            traces[name] = set(kernel.value(listed))
        finally:
            kernel.stop()
    assert traces["ann"]
    assert traces["bob"]
    assert traces["ann"].isdisjoint(traces["bob"]), "each user sees their own requests"


def test_clients_of_a_notebook_server_get_the_services_answers(
    class_hub: RunningHub, servers: dict[str, NotebookServer]
) -> None:
    ann = servers["ann"]
    with openai.OpenAI(base_url=f"{ann.url}v1", api_key=ann.token, max_retries=0) as client:
        stored = client.responses.create(model="tiny-chat", input="Hi", max_output_tokens=3)
    # The same user without the notebook server, and another one.
    for user, status in (("ann", 200), ("bob", 404)):
        with class_hub.service(class_hub.user_token(user)) as client:
            assert client.get(f"v1/responses/{stored.id}").status_code == status
    with ann.client.stream("GET", "mlx/events") as events:
        assert next(events.iter_lines()).startswith("data: ")


def test_a_notebook_of_a_user_without_the_scope_says_so(servers: dict[str, NotebookServer]) -> None:
    kernel = servers["eve"].kernel()
    try:
        cell = kernel.run("%load_ext mlx_notebook\n%chat Hello", check=False)
        assert cell.ename == "NotAuthorized", cell
        assert SCOPE in cell.evalue
        answer = servers["eve"].client.get("mlx/status")
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "scope_missing")
    finally:
        kernel.stop()


def test_an_external_service_knows_the_hubs_users(class_hub: RunningHub) -> None:
    for user, status in (("head", 200), ("ann", 403)):
        token = class_hub.user_token(user)
        # Through the proxy, and directly.
        for url in (f"{class_hub.url}services/elsewhere/", class_hub.external.url):
            headers = {"Authorization": f"Bearer {token}"}
            answer = httpx.get(f"{url}v1/models", headers=headers, trust_env=False)
            assert answer.status_code == status, answer.text


def log_in(page: Any, hub: RunningHub, user: str) -> None:
    page.goto(f"{hub.url}hub/login")
    page.get_by_label("Username").fill(user)
    page.get_by_label("Password").fill("any")
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(lambda address: "/hub/login" not in address)


def test_a_browser_logs_in_at_the_hub(
    class_hub: RunningHub, servers: dict[str, NotebookServer], chromium: Any
) -> None:
    from playwright.sync_api import expect

    for user, status, shown in (
        ("bob", 200, "Logged in as bob (class)"),
        ("teacher", 200, "You may manage it"),
        ("eve", 403, "You do not have permission to access JupyterHub service mlx"),
    ):
        context = chromium.new_context(viewport={"width": 1000, "height": 800})
        page = context.new_page()
        log_in(page, class_hub, user)
        answer = page.goto(class_hub.service_url)
        expect(page.locator("body")).to_contain_text(shown)
        assert answer.status == status
        page.screenshot(path=SCREENS / f"jupyterhub-service-{user}.png")
        if user == "bob":
            page.get_by_role("link", name="mlx/status").click()
            expect(page.locator("body")).to_contain_text('"engine"')
            _chat_in_lab(page, class_hub)
            page.goto(class_hub.service_url)
            page.get_by_role("link", name="Log out").click()
            page.wait_for_url(lambda address: "/hub/log" in address)
            page.goto(class_hub.service_url)
            assert "/hub/login" in page.url
        context.close()


def _chat_in_lab(page: Any, hub: RunningHub) -> None:
    from playwright.sync_api import expect

    cells = (
        "%load_ext mlx_notebook",
        "%%chat --max-tokens 20\nHello! What can you do?",
        "import mlx_notebook\nmlx_notebook.stats_panel()",
    )
    lesson = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in cells],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    )
    nbformat.write(lesson, hub.folder / "homes" / "bob" / "lesson.ipynb")
    page.goto(f"{hub.url}user/bob/lab/tree/lesson.ipynb?reset")
    page.locator(".jp-Notebook .jp-CodeCell").first.wait_for(timeout=60_000)
    connected(page)
    run_cell(page, 0)
    run_cell(page, 1)
    answer = page.locator(".jp-Notebook .jp-CodeCell").nth(1).locator(".jp-RenderedMarkdown")
    assert answer.first.inner_text(timeout=60_000)
    run_cell(page, 2)
    expect(panel(page, "Activity")).to_contain_text("running", timeout=60_000)
    page.screenshot(path=SCREENS / "jupyterhub-lab.png")


def test_the_service_comes_back(class_hub: RunningHub, servers: dict[str, NotebookServer]) -> None:
    kernel = servers["bob"].kernel()
    try:
        kernel.run("%load_ext mlx_notebook")
        kernel.run("%%chat --max-tokens 3\nHi")
        with class_hub.without_service():
            answer = servers["bob"].client.get("v1/models")
            assert answer.json()["error"]["code"] == "service_unreachable"
            cell = kernel.run("%%chat --max-tokens 3\nHi", check=False)
        assert cell.ename == "ServerUnreachable", cell
        assert class_hub.direct_url.rstrip("/") in cell.evalue
        # The Hub notices and starts it.
        wait_for(lambda: servers["bob"].client.get("v1/models").status_code == 200, 90, 0.5)
        kernel.run("%%chat --max-tokens 3\nHi")
    finally:
        kernel.stop()
