"""The panel Activity of a server with two ranks."""

import re

from playwright.sync_api import expect

from tests.browser.conftest import SCREENS
from tests.browser.pages import Browser, LabServer, axe, panel, run_cell
from tests.hub import hub


def test_the_panel_shows_each_rank(chromium, tmp_path, request):
    with hub() as stand_in:
        server = LabServer(tmp_path / "lab", tmp_path / "models", stand_in, ranks=2)
        try:
            server.request("mlx/models/load", {"model": "tiny-chat"})
            cell = "\n".join(
                (
                    *("%load_ext mlx_notebook", "%mlx status"),
                    *("import mlx_notebook", "mlx_notebook.stats_panel()"),
                )
            )
            server.notebook("ranks.ipynb", cell)
            SCREENS.mkdir(parents=True, exist_ok=True)
            browser = Browser(chromium, server, SCREENS)
            page = browser.open("ranks.ipynb")
            run_cell(page)
            rows = panel(page, "Activity").get_by_role("listitem")
            told = re.compile(
                r"Rank 1\s*127\.0\.0\.1, process \d+: .+B in use, .+B peak, waited .+s for others"
            )
            expect(rows.filter(has_text="Rank 0")).to_have_count(1)
            expect(rows.filter(has_text="Rank 1")).to_have_text(told)
            expect(page.get_by_text(re.compile(r"rank 1: 127\.0\.0\.1, .+ in use"))).to_be_visible()
            browser.screenshot(page, "ranks", of=panel(page, "Activity"))
            assert axe(page) == []
            browser.close(request.node.name)
        finally:
            server.stop()
