"""Notebooks in a real browser: JupyterLab and Notebook 7, run cell by cell."""

import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import nbformat
from playwright.sync_api import expect

from tests.hub import Hub
from tests.notebook.jupyter import JupyterServer

# What the pages say of themselves, whatever stands in a notebook.
HARMLESS = (
    # Headless Chromium asks for no notifications, and Lab tells that it cannot send any.
    "Notification",
    # Lab asks for its own settings of plugins that were never set, and for news.
    "Failed to load resource: the server responded with a status of 404",
    # Notebook 7 knows nothing of Lab's file browser, nor of its settings of notifications.
    "filebrowser:open-path",
    "(reading 'schema')",
    # Notebook 7 asks for the fonts of formulas where its server has none, in cells too.
    "static/notebook/",
    # A view of Jupyter's widgets that gets a message of the page's layout after it was disposed:
    # it has no check for that. Seen rarely, where a reloaded page restores its widgets, and never
    # with our modules on the stack (`_complain` looks).
    "(reading 'processLuminoMessage')",
    # Lab's debugger, of a kernel that is shut down while it is asked.
    "Could not restore the debugger state",
    # A page that is left while it loads.
    "net::ERR_ABORTED",
    # Of Lab's own workspace and of its extension manager, which a server without network lacks.
    "/lab/api/",
)


class LabServer(JupyterServer):
    """A Jupyter server with both front ends, which takes `hub` for the hub of models.

    `settings` are those of the extension.
    """

    def __init__(self, home: Path, models: Path, hub: Hub, **settings: Any) -> None:
        self.home, self.models, self.hub = home, models, hub
        (home / "config").mkdir(parents=True, exist_ok=True)
        extensions = {"mlx_notebook": True, "jupyterlab": True, "notebook": True}
        written = {
            "ServerApp": {"jpserver_extensions": {**extensions, "jupyter_lsp": False}},
            "MlxNotebookApp": {"models_dirs": [str(models)], **settings},
            "LabApp": {"expose_app_in_browser": True, "extension_manager": "readonly"},
            "JupyterNotebookApp": {"expose_app_in_browser": True},
        }
        for name in ("jupyter_server_config", "jupyter_lab_config"):
            (home / "config" / f"{name}.json").write_text(json.dumps(written))
        asked = home / "config/lab/user-settings/@jupyterlab/apputils-extension"
        asked.mkdir(parents=True)
        (asked / "notification.jupyterlab-settings").write_text('{"fetchNews": "false"}')
        super().__init__(home, **hub.env(home / "hf"))

    def answers_or_not(self, path: str, body: dict) -> None:
        """Ask for something that another will break off."""
        with suppress(OSError):
            self.request(path, body)

    def settings(self, **values: str | int) -> None:
        """Write the user's settings of our JupyterLab extension, before a page reads them."""
        folder = self.home / "config/lab/user-settings/mlx-notebook"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "plugin.jupyterlab-settings").write_text(json.dumps(values))

    def notebook(self, name: str, *cells: str) -> str:
        """Write a notebook into the server's folder."""
        made = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(cell) for cell in cells],
            metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
        )
        nbformat.write(made, self.home / name)
        return name


class Browser:
    """Pages of one test, what they complained about, and their screenshots."""

    def __init__(self, chromium, server: LabServer, screens: Path) -> None:
        self.server, self.screens = server, screens
        self.context = chromium.new_context(
            viewport={"width": 1280, "height": 900},
            permissions=["clipboard-read", "clipboard-write"],
        )
        self.context.set_default_timeout(30_000)
        self.complaints: list[str] = []
        self.expected: list[str] = []
        """Complaints that belong to what a test does."""

    def open(self, name: str, *, front: str = "lab", theme: str = "light"):
        """Open a notebook of the server in `lab` or in `notebook`."""
        page = self.context.new_page()
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self._complain(str(error), error.stack or ""))
        path = f"lab/tree/{name}?reset" if front == "lab" else f"notebooks/{name}"
        joint = "&" if "?" in path else "?"
        page.goto(f"{self.server.url}{path}{joint}token={self.server.token}")
        page.locator(".jp-Notebook .jp-CodeCell").first.wait_for(timeout=60_000)
        connected(page)
        set_theme(page, theme)
        return page

    def _hear(self, message) -> None:
        if message.type == "error":
            self._complain(f"{message.text} {message.location.get('url', '')}")

    def _complain(self, said: str, stack: str = "") -> None:
        # anywidget loads our modules from addresses of this kind.
        is_ours = "blob:" in stack
        harmless = self.expected if is_ours else (*HARMLESS, *self.expected)
        if not any(known in said for known in harmless):
            self.complaints.append(f"{said}\n{stack}".strip())

    def screenshot(self, page, name: str, *, of=None) -> None:
        (of or page).screenshot(path=self.screens / f"{name}.png")

    def close(self, test: str) -> None:
        """Keep a screenshot of the pages as the test left them, and see whether one complained."""
        for at, page in enumerate(self.context.pages):
            self.screenshot(page, f"end-{test}-{at}")
        self.context.close()
        assert self.complaints == [], self.complaints


def connected(page) -> None:
    """Wait until the page's notebook has its kernel: before, Lab asks which one to take."""
    page.wait_for_function(
        """() => {
            const app = window.jupyterapp ?? window.jupyterlab;
            const context = app?.shell?.currentWidget?.context?.sessionContext;
            const kernel = context?.session?.kernel;
            return context?.isReady && kernel?.connectionStatus === "connected"
                && kernel.status === "idle";
        }""",
        timeout=60_000,
    )


def set_theme(page, theme: str) -> None:
    """Choose the theme as Lab's own style sheets do it."""
    name = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}[theme]
    if page.evaluate("document.body.dataset.jpThemeName") == name:
        return
    page.evaluate(
        """async (name) => {
            const app = window.jupyterapp ?? window.jupyterlab;
            if (app) await app.commands.execute("apputils:change-theme", {theme: name});
        }""",
        name,
    )
    page.wait_for_function("name => document.body.dataset.jpThemeName === name", arg=name)


def run_cell(page, at: int = 0, *, wait: bool = True) -> None:
    """Run a cell with the keyboard, and wait until it has ended."""
    cell = page.locator(".jp-Notebook .jp-CodeCell").nth(at)
    prompt = cell.locator(".jp-InputPrompt").first
    cell.locator(".cm-content").click()
    page.keyboard.press("Shift+Enter")
    expect(prompt).to_have_text(re.compile(r"\[(\*|\d+)\]"))
    if wait:
        expect(prompt).to_have_text(re.compile(r"\[\d+\]"), timeout=60_000)


def panel(page, title: str):
    return page.get_by_role("region", name=title, exact=True).first


def execute(page, command: str) -> None:
    """Run one of the front end's commands, as its palette does."""
    page.evaluate(
        "name => void (window.jupyterapp ?? window.jupyterlab).commands.execute(name)", command
    )


def digits(text: str) -> list[int]:
    return [int(found.replace(",", "")) for found in re.findall(r"\d[\d,]*", text)]


def press(place, name):
    place.get_by_role("button", name=name, exact=True).click()


def axe(page, context=".mlx-panel"):
    """Serious faults inside of our panels, or of another part of the page."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page, context=context).response["violations"]
    return [
        (fault["id"], node["html"][:200])
        for fault in found
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]
