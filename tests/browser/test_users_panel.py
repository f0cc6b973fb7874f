"""The panel Users in a real browser, of a server with several users."""

import re

import httpx
import pytest
from playwright.sync_api import expect

from tests.browser.pages import axe, panel, run_cell, set_theme
from tests.server.running import HELLO, running
from tests.server.users.identities import token_of

CONFIG = {
    "ServerApp": {"identity_provider_class": "tests.server.users.identities.UserTokens"},
    "MlxNotebookApp": {"user_limits": {"cem": {"use": []}}},
}
NAMES = ("ann", "bob", "cem", "a-student-with-a-rather-long-name@university.example")


@pytest.fixture(scope="module")
def shared(pytestconfig):
    """A server that four users have used: one more than the others, and one in vain."""
    with running(config=CONFIG, env={"PYTHONPATH": str(pytestconfig.rootpath)}) as server:
        body = {"model": "tiny-chat", "messages": HELLO, "max_tokens": 5, "ignore_eos": True}
        for times, name in ((1, "ann"), (3, "bob"), (2, "cem"), (1, NAMES[3])):
            headers = {"Authorization": f"Bearer {token_of(name)}"}
            for _ in range(times):
                answer = httpx.post(
                    f"{server.openai_url}/chat/completions", json=body, headers=headers, timeout=60
                )
                assert answer.status_code == (403 if name == "cem" else 200), answer.text
        yield server


def opened(browser, lab, server, who):
    cell = (
        "import mlx_notebook\n"
        f"mlx_notebook.connect({server.url!r}, {token_of(who)!r})\n"
        "mlx_notebook.admin_panel()"
    )
    lab.notebook(f"users-{who}.ipynb", cell)
    page = browser.open(f"users-{who}.ipynb")
    run_cell(page)
    return page, panel(page, "Users")


def names(users) -> list[str]:
    return users.get_by_role("rowheader").all_text_contents()


def test_an_admin_sees_sorts_and_finds_the_usage_of_all(browser, lab, shared):
    page, users = opened(browser, lab, shared, "teacher")
    expect(users.get_by_role("rowheader")).to_have_count(4)
    # The one with most tokens is first; the one who may use no model is last.
    assert names(users)[0] == "bob"
    assert names(users)[-1] == "cem"
    row = users.get_by_role("row").filter(has=page.get_by_role("rowheader", name="bob"))
    expect(row.get_by_role("cell")).to_have_text(
        ["0 + 0", "3", re.compile(r"^\d+$"), "–", re.compile("s$"), "0"]
    )
    refused = users.get_by_role("columnheader", name="Refused")
    # By keyboard.
    refused.get_by_role("button").press("Enter")
    expect(refused).to_have_attribute("aria-sort", "descending")
    assert names(users)[0] == "cem"
    refused.get_by_role("button").press("Enter")
    expect(refused).to_have_attribute("aria-sort", "ascending")
    assert names(users)[-1] == "cem"
    users.get_by_role("columnheader", name="User").get_by_role("button").click()
    assert names(users) == sorted(NAMES)
    users.get_by_role("searchbox").fill("UNIVERSITY")
    expect(users.get_by_role("rowheader")).to_have_count(1)
    expect(users.get_by_role("status").first).to_have_text("1 of 4 users")
    users.get_by_role("searchbox").press("Escape")
    expect(users.get_by_role("rowheader")).to_have_count(4)
    expect(users.get_by_text("neither does an admin")).to_be_visible()
    browser.screenshot(page, "users-light", of=users)
    assert axe(page) == []
    set_theme(page, "dark")
    browser.screenshot(page, "users-dark", of=users)
    assert axe(page) == []
    set_theme(page, "light")


def test_the_table_is_readable_in_a_narrow_cell_and_shows_new_requests(browser, lab, shared):
    page, users = opened(browser, lab, shared, "teacher")
    expect(users.get_by_role("rowheader")).to_have_count(4)
    page.evaluate("node => node.style.width = '400px'", users.element_handle())
    for cell in users.get_by_role("cell").all():
        assert cell.evaluate("node => node.scrollWidth <= node.clientWidth + 1")
    assert users.evaluate("node => node.scrollWidth <= node.clientWidth")
    browser.screenshot(page, "users-narrow", of=users)
    assert axe(page) == []
    headers = {"Authorization": f"Bearer {token_of('dora')}"}
    body = {"model": "tiny-chat", "messages": HELLO, "max_tokens": 2}
    httpx.post(f"{shared.openai_url}/chat/completions", json=body, headers=headers, timeout=60)
    expect(users.get_by_role("rowheader", name="dora")).to_be_visible()


def test_another_user_sees_only_themselves_and_the_totals(browser, lab, shared):
    page, users = opened(browser, lab, shared, "bob")
    expect(users.get_by_role("rowheader")).to_have_text(["bob"])
    expect(users.get_by_text("an admin sees each user")).to_be_visible()
    browser.screenshot(page, "users-own", of=users)
