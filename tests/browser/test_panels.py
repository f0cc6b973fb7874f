"""Every panel, every button, in a real browser."""

import json
import re
import threading
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.pages import axe, panel, press, run_cell, set_theme
from tests.hub import Repository, tiny_chat
from tests.notebook.jupyter import wait_for

OTHER = "random/a-model-with-a-rather-long-name-4bit"
OFFERED = "mlx-community/Llama-3.2-1B-Instruct-4bit"
ADD = """
import mlx_notebook
def add(a: int, b: int) -> int:
    "Add two numbers."
    return a + b
"""
TOOL = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Add two numbers.",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "required": ["a", "b"],
        },
    },
}
SESSION = "(window.jupyterapp ?? window.jupyterlab).shell.currentWidget.context.sessionContext"
SUM = [{"role": "user", "content": "What is 17 plus 25?"}]


def saves(page, file, control):
    """Press Ctrl+S in a control, and say whether the file was written."""
    before = file.stat().st_mtime_ns
    control.press("Control+s")
    page.wait_for_timeout(300)
    return file.stat().st_mtime_ns > before


def test_models_are_loaded_swapped_pinned_unloaded_and_found(browser, lab):
    lab.request("mlx/models/load", {"model": "tiny-chat"})
    lab.notebook("models.ipynb", "import mlx_notebook\nmlx_notebook.models_panel()")
    page = browser.open("models.ipynb")
    run_cell(page)
    models = panel(page, "Models")
    expect(models.get_by_role("button", name="Unload tiny-chat", exact=True)).to_be_visible()
    press(models, f"Load {OTHER}")
    expect(models.get_by_role("button", name=f"Unload {OTHER}", exact=True)).to_be_visible()
    # By keyboard, which goes on where it was.
    models.get_by_role("button", name=f"Pin {OTHER}", exact=True).press("Enter")
    expect(models.get_by_role("button", name=f"Unpin {OTHER}", exact=True)).to_be_focused()
    models.get_by_role("button", name="Unload tiny-chat", exact=True).press("Enter")
    expect(models.get_by_role("button", name="Load tiny-chat", exact=True)).to_be_focused()
    press(models, f"Unpin {OTHER}")
    expect(models.get_by_role("button", name=f"Pin {OTHER}", exact=True)).to_be_visible()
    press(models, "Load tiny-chat and unload others")
    expect(models.get_by_role("button", name="Unload tiny-chat", exact=True)).to_be_visible()
    expect(models.get_by_role("button", name=f"Load {OTHER}", exact=True)).to_be_visible()
    assert [model["id"] for model in lab.status()["models"]] == ["tiny-chat"]
    press(models, "Convert tiny-chat")
    name = models.get_by_label("Name of the model that tiny-chat is converted to")
    expect(name).to_be_focused()
    expect(name).to_have_value("tiny-chat-4bit")
    models.get_by_label("Bits of a weight of the conversion of tiny-chat").select_option("8")
    expect(name).to_have_value("tiny-chat-8bit")
    name.fill("tiny-vision")
    press(models, "Start the conversion of tiny-chat")
    taken = "There is a model or an adapter 'tiny-vision' already"
    expect(models.get_by_text(taken)).to_be_visible()
    models.get_by_text(re.compile(r"Available to download \(\d+\)")).click()
    expect(models.get_by_text("Does not fit:").first).to_be_visible()
    expect(models.get_by_role("meter", name="Memory for models")).to_have_attribute(
        "aria-valuetext", re.compile(r"Memory for models: .*MB")
    )
    models.get_by_role("searchbox").fill("embeddings")
    expect(models.get_by_text("tiny-chat", exact=True)).to_be_hidden()
    models.get_by_role("searchbox").press("Escape")
    expect(models.get_by_text("tiny-chat", exact=True)).to_be_visible()
    browser.screenshot(page, "models", of=models)
    assert axe(page) == []


def test_a_model_is_downloaded_after_a_first_try_was_cancelled(browser, lab):
    for name in (OFFERED, "org/unlisted"):
        lab.hub.models[name] = Repository.of({**tiny_chat(), "README.md": name.encode()})
    lab.hub.hold_after = 2_000_000
    lab.notebook("download.ipynb", "import mlx_notebook\nmlx_notebook.models_panel()")
    page = browser.open("download.ipynb")
    run_cell(page)
    models = panel(page, "Models")
    models.get_by_role("searchbox").fill("org/unlisted")
    press(models, "Download org/unlisted")
    expect(models.get_by_role("button", name="Cancel org/unlisted", exact=True)).to_be_visible()
    models.get_by_role("searchbox").fill("Llama")
    press(models, f"Download {OFFERED}")
    progress = models.get_by_role("meter", name=f"Progress of {OFFERED}")
    expect(progress).to_have_attribute("aria-valuetext", re.compile("Downloading: .* of 6.* MB"))
    browser.screenshot(page, "models-download", of=models)
    press(models, f"Cancel {OFFERED}")
    expect(models.get_by_text(f"{OFFERED} was cancelled.")).to_be_visible()
    lab.hub.hold_after = None
    lab.hub.released.set()
    press(models, f"Download {OFFERED}")
    expect(models.get_by_text(f"{OFFERED} is downloaded.")).to_be_visible()
    expect(models.get_by_role("button", name=f"Load {OFFERED}", exact=True)).to_be_visible()
    models.get_by_role("searchbox").fill("org/unlisted")
    expect(models.get_by_role("button", name="Load org/unlisted", exact=True)).to_be_visible()


def test_figures_move_while_a_request_runs_and_cancel_stops_it(browser, lab):
    lab.notebook("stats.ipynb", "import mlx_notebook\np = mlx_notebook.stats_panel()\np")
    page = browser.open("stats.ipynb")
    run_cell(page)
    stats = panel(page, "Activity")
    expect(stats.get_by_text("No request is running.")).to_be_visible()
    body = {"messages": SUM, "max_tokens": 3500, "ignore_eos": True, "model": "tiny-chat"}
    asked = threading.Thread(target=lambda: lab.answers_or_not("v1/chat/completions", body))
    asked.start()
    cancel = stats.get_by_role("button", name=re.compile("Cancel the request of tiny-chat"))
    cancel.wait_for()
    expect(stats.get_by_text(re.compile(r"generating, [1-9]\d* tokens"))).to_be_visible()
    browser.screenshot(page, "stats-busy", of=stats)
    cancel.click()
    asked.join(30)
    # Its row stays while the pointer is over the list, so that none moves under it.
    expect(stats.get_by_text("ended", exact=True)).to_be_visible()
    stats.get_by_role("heading", name="Since the server").hover()
    expect(stats.get_by_text("No request is running.")).to_be_visible()
    # Minutes of rest stand before the last second, also in a chart that nothing else moves.
    for name in ("Generation", "Prompt processing", "Requests"):
        label = re.compile(f"{name} over the last two minutes: now 0.*, peak [1-9]")
        expect(stats.get_by_role("img", name=label)).to_be_visible()
    expect(stats.get_by_text(re.compile(r"last request: .* of 4,096 tokens"))).to_be_visible()
    assert axe(page) == []
    fullness = stats.get_by_role("meter", name="Context used")
    for length, level, told in ((3000, "amber", "getting full"), (3800, "red", "nearly full")):
        said = [{"role": "user", "content": "x" * length}]
        lab.request("v1/chat/completions", {"messages": said, "max_tokens": 2, "model": OTHER})
        expect(fullness).to_have_attribute("data-level", level)
        expect(stats.get_by_text(re.compile(f"last request: .* {told}"))).to_be_visible()
    browser.screenshot(page, "stats", of=stats)


def test_the_inspector_says_where_a_prompt_changed(browser, lab):
    for clock in ("10:01", "20:02"):
        rules = f"You are a careful assistant who answers in one short sentence. It is {clock}."
        said = [{"role": "system", "content": rules}, {"role": "user", "content": "Hello!"}]
        said += [{"role": "assistant", "content": "Hi."}, {"role": "user", "content": "And now?"}]
        lab.request(
            "v1/chat/completions", {"messages": said, "max_tokens": 2, "model": "tiny-chat"}
        )
    lab.notebook("prefix.ipynb", "import mlx_notebook\nmlx_notebook.inspector()")
    page = browser.open("prefix.ipynb")
    run_cell(page)
    inspector = panel(page, "Inspector")
    inspector.get_by_role("button", name=re.compile("And now")).first.click()
    told = re.compile(r"The cache was used up to token \d+\. Message 1 changed at token \d+\.")
    expect(inspector.get_by_text(told)).to_be_visible()
    expect(inspector.get_by_role("cell", name=re.compile('^"20'))).to_be_visible()
    browser.screenshot(page, "prefix", of=inspector)


def test_a_tool_call_is_inspected_copied_replayed_and_exported(browser, lab):
    body = {"messages": SUM, "tools": [TOOL], "temperature": 0, "model": "tiny-chat", "user": "ann"}
    answer = lab.request("v1/chat/completions", body)["choices"][0]["message"]
    [call] = answer["tool_calls"]
    result = {"role": "tool", "tool_call_id": call["id"], "content": "42"}
    lab.request("v1/chat/completions", {**body, "messages": [*SUM, answer, result]})
    endless = {"messages": [{"role": "user", "content": "Count to a lot."}], "ignore_eos": True}
    lab.request("v1/chat/completions", {**endless, "max_tokens": 5, "model": "tiny-chat"})
    lab.notebook("inspector.ipynb", "import mlx_notebook\nmlx_notebook.inspector()")
    page = browser.open("inspector.ipynb")
    run_cell(page)
    inspector = panel(page, "Inspector")
    inspector.get_by_role("button", name=re.compile("17 plus 25.*calls add", re.S)).first.click()
    expect(inspector.get_by_text("The arguments fit the schema.")).to_be_visible()
    expect(inspector.get_by_text("<tool_call>").first).to_be_visible()
    expect(inspector.locator("pre", has_text=re.compile("^42$"))).to_be_visible()
    expect(inspector.get_by_text("Ignored parameters: user")).to_be_visible()
    inspector.get_by_text("Rendered prompt").click()
    inspector.get_by_text("Tools offered (1)").click()
    browser.screenshot(page, "inspector", of=inspector)
    press(inspector, "Copy as curl")
    expect(inspector.get_by_text("Your token is not included.")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("curl ")
    assert lab.token not in copied
    press(inspector, "Copy as Python")
    page.wait_for_function(
        "async () => (await navigator.clipboard.readText()).includes('mlx_notebook.client()')"
    )
    with page.expect_download() as saved:
        press(inspector, "Export JSON")
    assert json.loads(Path(saved.value.path()).read_text())["rows"][0]["calls"]
    press(inspector, "Replay …")
    inspector.get_by_label("Temperature").fill("0.5")
    inspector.get_by_label("Seed").fill("7")
    press(inspector, "Run")
    expect(inspector.get_by_text("Replay on tiny-chat")).to_be_visible()
    browser.screenshot(page, "inspector-replay", of=inspector)
    assert axe(page) == []
    inspector.get_by_role("button", name=re.compile("Count to a lot")).click()
    expect(inspector.get_by_text("No tools were offered.")).to_be_visible()
    press(inspector, "Replay …")
    inspector.get_by_label("Max tokens").fill("3500")
    press(inspector, "Run")
    expect(inspector.get_by_text("Running …")).to_be_visible()
    press(inspector, "Stop")
    expect(inspector.get_by_text("Stopped.")).to_be_visible()
    expect(inspector.get_by_text("Running …")).to_be_hidden()
    wait_for(lambda: not lab.status()["requests"], 20)
    inspector.get_by_role("searchbox").fill("no such words")
    expect(inspector.get_by_text("0 requests", exact=True)).to_be_visible()
    inspector.get_by_role("searchbox").press("Escape")
    expect(inspector.get_by_text("0 requests", exact=True)).to_be_hidden()
    with page.expect_download() as saved:
        press(inspector, "Export all")
    assert len(json.loads(Path(saved.value.path()).read_text())) >= 3


@pytest.mark.parametrize("front", ["lab", "notebook"])
def test_the_dashboard_works_by_keyboard_in_both_themes_narrow_and_reloaded(browser, lab, front):
    lab.request("mlx/models/load", {"model": "tiny-chat"})
    lab.notebook(f"{front}.ipynb", f"{ADD}\nmlx_notebook.dashboard([add])")
    page = browser.open(f"{front}.ipynb", front=front)
    run_cell(page)
    whole = panel(page, "mlx-notebook")
    expect(whole.get_by_text(re.compile("engine (running|not started)"))).to_be_visible()
    before = "Models"
    for tab in ("Activity", "Inspector", "Chat"):
        whole.get_by_role("tab", name=before).press("ArrowRight")
        before = tab
        expect(whole.get_by_role("tab", name=tab)).to_have_attribute("aria-selected", "true")
    for theme in ("dark", "light"):
        set_theme(page, theme)
        for tab in ("Chat", "Inspector", "Activity", "Models"):
            whole.get_by_role("tab", name=tab).click()
            if theme == "dark":
                browser.screenshot(page, f"{front}-{theme}-{tab.lower()}", of=whole)
            if theme == "dark" or tab == "Models":
                assert axe(page) == []
    # Ctrl+S saves wherever the focus is, and what one types is no shortcut of the notebook.
    whole.get_by_role("tab", name="Chat").click()
    message = whole.get_by_role("textbox", name="Message")
    cells = page.locator(".jp-Notebook .jp-CodeCell").count()
    message.press_sequentially("dd xx a b")
    expect(message).to_have_value("dd xx a b")
    wait_for(lambda: saves(page, lab.home / f"{front}.ipynb", message), 20)
    wait_for(lambda: saves(page, lab.home / f"{front}.ipynb", whole.get_by_role("tab").first), 20)
    expect(page.locator(".jp-Notebook .jp-CodeCell")).to_have_count(cells)
    page.reload()
    expect(
        panel(page, "mlx-notebook").get_by_text(re.compile("engine (running|not started)"))
    ).to_be_visible(timeout=60_000)
    models = panel(page, "Models")
    press(models, "Pin tiny-chat")
    press(models, "Unpin tiny-chat")
    # Lab has a side bar too.
    page.set_viewport_size({"width": 850 if front == "lab" else 500, "height": 900})
    narrow = panel(page, "mlx-notebook")
    page.wait_for_function(
        "node => node.clientWidth < 520", arg=narrow.element_handle(), timeout=20_000
    )
    assert narrow.evaluate("node => node.scrollWidth <= node.clientWidth")
    browser.screenshot(page, f"{front}-narrow", of=narrow)


def restart(page):
    page.evaluate(f"{SESSION}.session.kernel.restart()")


def shut_down(page):
    page.evaluate(f"{SESSION}.shutdown()")


def test_no_row_moves_under_the_pointer_and_notices_go_by_themselves(browser, lab):
    lab.request("mlx/models/load", {"model": "tiny-chat"})
    lab.notebook("still.ipynb", "import mlx_notebook\nmlx_notebook.models_panel()")
    page = browser.open("still.ipynb")
    run_cell(page)
    models = panel(page, "Models")
    row = models.locator("li[data-model='tiny-chat']")
    press(row, "Unload tiny-chat")
    before = row.bounding_box()
    notice = models.get_by_text("tiny-chat is unloaded.")
    expect(notice).to_be_visible()
    expect(row.get_by_role("button", name="Load tiny-chat", exact=True)).to_be_visible()
    assert row.bounding_box() == before
    browser.screenshot(page, "notice", of=models)
    expect(notice).to_be_hidden()
    listed = models.locator("div", has=page.get_by_role("heading", name="On this machine")).last
    expect(listed.locator("li[data-model='tiny-chat']")).to_have_count(0)
    models.get_by_role("searchbox").hover()
    expect(listed.locator("li[data-model='tiny-chat']")).to_have_count(1)


@pytest.mark.parametrize(("end", "told"), [(restart, "was restarted"), (shut_down, "not answer")])
def test_a_panel_says_that_its_kernel_is_gone(browser, lab, end, told):
    setup = """
import mlx_notebook
from mlx_notebook.panels.base import server_watcher
server_watcher.HEARTBEAT_SECONDS = 0.5
"""
    lab.notebook("gone.ipynb", f"{setup}\nmlx_notebook.stats_panel()")
    page = browser.open("gone.ipynb")
    run_cell(page)
    stats = panel(page, "Activity")
    expect(stats.get_by_text("No request is running.")).to_be_visible()
    expect(stats.get_by_role("alert")).to_be_hidden()
    browser.expected += ["debugger state", "Canceled future"]  # what Lab asked of the kernel
    end(page)
    expect(stats.get_by_role("alert")).to_contain_text(told)
    page.wait_for_timeout(3000)  # until more heartbeats are missing than it takes
    expect(stats.get_by_role("alert")).to_contain_text(told)
    browser.screenshot(page, f"gone-{end.__name__}", of=stats)
    assert axe(page) == []


@pytest.mark.parametrize("front", ["lab", "notebook"])
def test_a_notebook_without_its_kernel_shows_a_table_in_the_panels_place(browser, lab, front):
    name = f"again-{front}.ipynb"
    lab.notebook(name, "import mlx_notebook\nmlx_notebook.models_panel()")
    page = browser.open(name, front=front)
    run_cell(page)
    table = page.get_by_text("Models, as of the time this cell ran")
    expect(panel(page, "Models")).to_be_visible()
    expect(table).to_be_hidden()
    wait_for(lambda: saves(page, lab.home / name, page.locator("body")), 20)
    page.reload()
    expect(panel(page, "Models").get_by_role("searchbox")).to_be_visible(timeout=60_000)
    expect(table).to_be_hidden()
    # What Lab asked of the kernel that is shut down, and what it misses afterwards.
    browser.expected += ["debugger state", "Canceled future", "widget model not found"]
    shut_down(page)
    page.close()
    page = browser.open(name, front=front)
    expect(page.get_by_text("Models, as of the time this cell ran")).to_be_visible()
    # Lab looks for the panel's model for some seconds.
    page.wait_for_function("document.body.textContent.includes('model not found')")
    expect(page.get_by_text("model not found")).to_be_hidden()
    browser.screenshot(page, f"again-{front}")


def test_a_replay_goes_on_while_its_page_is_reloaded(browser, lab):
    body = {"messages": SUM, "ignore_eos": True, "model": "tiny-chat", "max_tokens": 3}
    lab.request("v1/chat/completions", body)
    lab.notebook("reload.ipynb", "import mlx_notebook\nmlx_notebook.inspector()")
    page = browser.open("reload.ipynb")
    run_cell(page)
    wait_for(lambda: saves(page, lab.home / "reload.ipynb", page.locator("body")), 20)
    inspector = panel(page, "Inspector")
    inspector.get_by_role("button", name=re.compile("17 plus 25")).first.click()
    press(inspector, "Replay …")
    inspector.get_by_label("Max tokens").fill("1500")
    before = lab.status()["totals"]
    press(inspector, "Run")
    wait_for(lambda: lab.status()["requests"], 20)
    page.reload()
    inspector = panel(page, "Inspector")
    expect(inspector.get_by_role("searchbox")).to_be_visible(timeout=60_000)
    wait_for(lambda: lab.status()["totals"]["finished"] > before["finished"], 60)
    assert lab.status()["totals"]["cancelled"] == before["cancelled"]
