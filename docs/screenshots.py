"""Make the screenshots in docs/images/: a chat cell with a tool call, and the dashboard.

Usage: python docs/screenshots.py [FOLDER]    # by default docs/images/

Each one is a real notebook in a real JupyterLab, on the embedded model tiny-chat. Needs what the
extra `test` installs, and Chromium.
"""

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import nbformat
from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

FOLDER = Path(__file__).parent / "images"
LARGEST_BYTES = 150_000
PATIENCE_SECONDS = 120

SETUP = """
%load_ext mlx_notebook
%config InlineBackend.figure_format = "retina"
%mlx load tiny-chat
"""
TOOL = '''
import matplotlib.pyplot as plt
from mlx_notebook import tool

temperature = {
    "Oslo": [-4, -3, 1, 6, 12, 16, 18, 17, 12, 6, 1, -3],
    "Rome": [8, 9, 11, 14, 19, 23, 26, 26, 22, 17, 12, 9],
}

@tool
def plot_column(column: str, city: str) -> str:
    """Draw a plot of a column for a city."""
    plt.figure(figsize=(6, 1.8), layout="constrained")
    plt.plot(range(1, 13), temperature[city], marker="o")
    plt.title(f"{column.capitalize()} in {city} by month, °C")
    plt.show()
    return "Done."
'''
CHAT = "%%chat --tools plot_column -t 0\nDraw a plot of the temperature for Oslo."
ASKED = '''
import mlx_notebook

def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b

for _ in range(3):
    mlx_notebook.Chat("tiny-chat", temperature=0).ask("What can you do?")
mlx_notebook.Chat("tiny-chat", tools=[add], temperature=0).ask("What is 17 plus 25?")
'''
# Before that, Lab asks which kernel to take.
KERNEL_IS_IDLE = """() => {
    const context = window.jupyterapp?.shell?.currentWidget?.context?.sessionContext;
    return context?.isReady && context.session?.kernel?.status === "idle";
}"""
DASHBOARD = "mlx_notebook.dashboard([add])"


@contextmanager
def jupyterlab(home: Path) -> Iterator[str]:
    """Run JupyterLab in the folder `home`; yield its address with `{}` for the page's path."""
    token = secrets.token_hex(16)
    env = {name: value for name, value in os.environ.items() if not name.startswith("JUPYTER")}
    for name in ("CONFIG", "DATA", "RUNTIME"):
        env[f"JUPYTER_{name}_DIR"] = str(home / name.lower())
    env |= {"HF_HOME": str(home / "hf"), "IPYTHONDIR": str(home / "ipython")}
    asked = home / "config/lab/user-settings/@jupyterlab/apputils-extension"
    asked.mkdir(parents=True)
    (asked / "notification.jupyterlab-settings").write_text('{"fetchNews": "false"}')
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += [
        "--ServerApp.port=0",
        "--LabApp.expose_app_in_browser=True",
        f"--IdentityProvider.token={token}",
    ]
    command.append("--ServerApp.jpserver_extensions={'mlx_notebook': True, 'jupyterlab': True}")
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=home, env=env, stdout=log, stderr=log)
    try:
        file = home / "runtime" / f"jpserver-{process.pid}.json"
        end = time.monotonic() + PATIENCE_SECONDS
        while not file.exists() or not file.read_text():
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError((home / "log").read_text())
            time.sleep(0.1)
        yield f"{json.loads(file.read_text())['url']}{{}}?token={token}"
    finally:
        process.terminate()
        process.wait()


def run_notebook(page: Page, home: Path, address: str, *cells: str) -> None:
    """Open a notebook of these code cells in Lab's simple mode, and run them one by one."""
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell.strip()) for cell in cells],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    )
    name = f"{secrets.token_hex(4)}.ipynb"
    nbformat.write(notebook, home / name)
    page.goto(address.format(f"doc/tree/{name}"))
    page.wait_for_function(KERNEL_IS_IDLE, timeout=PATIENCE_SECONDS * 1000)
    for at in range(len(cells)):
        cell = page.locator(".jp-Notebook .jp-CodeCell").nth(at)
        cell.locator(".cm-content").click()
        page.keyboard.press("Shift+Enter")
        prompt = cell.locator(".jp-InputPrompt").first
        expect(prompt).to_have_text(re.compile(r"\[\d+\]"), timeout=PATIENCE_SECONDS * 1000)


def saved(image: bytes, file: Path) -> None:
    """Write a screenshot as WebP, as good as `LARGEST_BYTES` allows."""
    opened = Image.open(BytesIO(image)).convert("RGB")
    for quality in (90, 80, 70, 60, 50):
        opened.save(file, quality=quality, method=6)
        if file.stat().st_size <= LARGEST_BYTES:
            print(f"{file}: {opened.width} x {opened.height}, {file.stat().st_size:,} bytes")
            return
    raise ValueError(f"{file} has {file.stat().st_size:,} bytes; {LARGEST_BYTES:,} are the most")


def chat_cell(page: Page, home: Path, address: str) -> bytes:
    """Return an image of a function, a question about it, the call and the answer."""
    run_notebook(page, home, address, SETUP, TOOL, CHAT)
    cells = page.locator(".jp-Notebook .jp-CodeCell")
    cells.nth(2).locator("summary").first.click()
    page.add_style_tag(content=".jp-cell-toolbar, .jp-Collapser {visibility: hidden}")
    first, last = cells.nth(1).bounding_box(), cells.nth(2).bounding_box()
    assert first is not None
    assert last is not None
    height = last["y"] + last["height"] - first["y"]
    clip: Any = {"x": first["x"], "y": first["y"], "width": first["width"], "height": height}
    return page.screenshot(clip=clip)


def dashboard(page: Page, home: Path, address: str) -> bytes:
    """Return an image of the dashboard, in which a tool call is inspected."""
    run_notebook(page, home, address, SETUP, ASKED, DASHBOARD)
    page.get_by_role("tab", name="Inspector", exact=True).click()
    inspector = page.get_by_role("region", name="Inspector", exact=True).first
    inspector.get_by_role("button", name=re.compile("17 plus 25")).first.click()
    page.wait_for_timeout(2000)
    return page.get_by_role("region", name="mlx-notebook", exact=True).first.screenshot()


def main() -> None:
    """Make both."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    with (
        tempfile.TemporaryDirectory() as made,
        jupyterlab(Path(made)) as address,
        sync_playwright() as playwright,
    ):
        home = Path(made)
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        for name, make, width, height in (
            ("chat-cell", chat_cell, 860, 1400),
            ("dashboard", dashboard, 1280, 2400),
        ):
            size: Any = {"width": width, "height": height}
            page = browser.new_page(viewport=size, device_scale_factor=2)
            saved(make(page, home, address), folder / f"{name}.webp")
        browser.close()


if __name__ == "__main__":
    main()
