"""The agent works on the notebook with a real model, of which each call is demanded."""

import json
import re

from playwright.sync_api import expect

from tests.browser.pages import axe, execute, press, set_theme
from tests.notebook.jupyter import wait_for

CONTENT = "(window.jupyterapp ?? window.jupyterlab).shell.currentWidget.content"


def cells(page):
    return page.evaluate(f"{CONTENT}.model.sharedModel.cells.map(cell => cell.toJSON())")


def schema(value):
    """A schema that only this value fits."""
    if isinstance(value, list):
        items = schema(value[0])
        return {"type": "array", "minItems": len(value), "maxItems": len(value), "items": items}
    if isinstance(value, dict):
        properties = {name: schema(part) for name, part in value.items()}
        required = {"required": list(value), "additionalProperties": False}
        return {"type": "object", "properties": properties, **required}
    return {"enum": [value]}


class Demands:
    """Have the model write these calls, one after the other, and then a text."""

    def __init__(self, page):
        self.calls, self.sent = [], []
        page.route(re.compile("/v1/chat/completions"), self.demand)

    def demand(self, route):
        self.sent.append(route.request.post_data_json)
        body = route.request.post_data_json | {"tool_choice": "none"}
        if self.calls:
            name, arguments = self.calls.pop(0)
            tool = {"name": name, "parameters": schema(arguments)}
            body["tools"] = [{"type": "function", "function": tool}]
            body["tool_choice"] = {"type": "function", "function": {"name": name}}
        route.continue_(post_data=json.dumps(body))

    def results(self):
        """What the model was told of its calls, in its last request."""
        return [
            message["content"] for message in self.sent[-1]["messages"] if message["role"] == "tool"
        ]


def test_the_agent_plans_changes_and_runs_with_approval_and_a_click_undoes_it(browser, lab):
    lab.settings(model="tiny-chat", maxTokens=200)
    lab.notebook("agent.ipynb", "a = 1", "b = 2", "import time\ntime.sleep(600)")
    page = browser.open("agent.ipynb")
    demands = Demands(page)
    before = cells(page)
    first, second, third = (cell["id"] for cell in before)
    execute(page, "mlx-notebook:open-agent")
    chat = page.locator(".mlx-lab-chat")
    message = chat.get_by_role("textbox", name="Message")
    expect(message).to_be_focused()
    expect(chat.get_by_text("The agent asks before it changes a cell")).to_be_visible()
    asking = chat.get_by_role("group", name="Tool approval")

    def decide(title, decision, screen=None):
        # The model may have to be loaded first.
        expect(asking.locator("b").get_by_text(title, exact=True)).to_be_visible(timeout=60_000)
        expect(message).to_be_focused()
        choice = asking.get_by_role("button", name=decision, exact=True)
        expect(choice).not_to_be_disabled()
        if screen:
            browser.screenshot(page, screen)
            assert axe(page, ".mlx-lab-chat") == []
        choice.click()
        message.focus()

    new = "b = 40 + 2\nprint(b)"
    demands.calls = [
        ("propose_plan", {"steps": [{"what": "I change and run b.", "kind": "run"}]}),
        ("change_cell", {"cell": second, "source": new}),
        ("run_cell", {"cell": second}),
        ("add_cell", {"type": "markdown", "source": "A text", "after": "start"}),
        ("move_cell", {"cell": first, "after": second}),
    ]
    page.keyboard.type("Let b be 42")
    page.keyboard.press("Enter")
    decide("May the model begin with this plan?", "Begin", "lab-agent-plan")
    assert demands.sent[0]["tool_choice"]["function"] == {"name": "propose_plan"}
    decide("May the model change cell 2?", "Change once", "lab-agent-change")
    expect(asking.get_by_label("The call")).to_have_text(new)
    assert [cell["source"] for cell in cells(page)[:2]] == ["a = 1", new]
    decide("May the model run cell 2?", "Run once", "lab-agent-run")
    decide("May the model add a markdown cell at the top?", "Allow changes in this notebook")
    undo = chat.get_by_role("button", name="Undo all of it")
    expect(undo).to_be_visible(timeout=60_000)
    assert [cell["source"] for cell in cells(page)] == ["A text", new, "a = 1", before[2]["source"]]
    assert cells(page)[1]["outputs"][0]["text"] == "42\n"
    assert "```\n42\n\n```" in demands.results()[3]
    browser.screenshot(page, "lab-agent-done")
    assert axe(page, ".mlx-lab-chat") == []
    set_theme(page, "dark")
    expect(page.locator("#jupyterlab-splash")).to_have_count(0)
    browser.screenshot(page, "lab-agent-dark")
    assert axe(page, ".mlx-lab-chat") == []
    wide = page.viewport_size
    execute(page, "application:toggle-left-area")
    page.set_viewport_size({"width": 400, "height": 800})
    expect(chat.get_by_role("button", name="Send")).to_be_in_viewport()
    assert chat.evaluate("node => node.scrollWidth <= node.clientWidth")
    browser.screenshot(page, "lab-agent-narrow")
    page.emulate_media(forced_colors="active")
    browser.screenshot(page, "lab-agent-contrast")
    page.emulate_media(forced_colors="none")
    page.set_viewport_size(wide)
    undo.click()
    expect(chat.get_by_text("in files or elsewhere stays.")).to_be_focused()
    assert cells(page) == before
    assert page.evaluate(f"{CONTENT}.widgets.map(({{ model }}) => model.id)") == [
        first,
        second,
        third,
    ]

    # What was allowed holds for the next turn, and can be taken back.
    demands.calls = [
        ("propose_plan", {"steps": [{"what": "I add a cell.", "kind": "change"}]}),
        ("delete_cell", {"cell": first}),
        ("run_cell", {"cell": third}),
    ]
    message.fill("Run the last cell")
    message.press("Enter")
    decide("May the model run cell 2?", "Run once")
    running = f"{CONTENT}.parent.context.sessionContext.session.kernel.status"
    wait_for(lambda: page.evaluate(running) == "busy")
    press(chat, "Stop")
    wait_for(lambda: page.evaluate(running) == "idle")
    press(chat, "Take back: change cells")
    expect(chat.get_by_text("The agent asks before it changes a cell")).to_be_visible()
    press(chat, "Undo all of it")
    assert cells(page) == before
