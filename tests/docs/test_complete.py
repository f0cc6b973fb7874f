"""The pages have every endpoint, error code, exception and metric that users meet, and no other."""

import inspect
import re

from prometheus_client import REGISTRY

from mlx_notebook.notebook import errors
from mlx_notebook.server.api.openapi.document import document
from mlx_notebook.server.telemetry import metrics
from mlx_notebook.server.telemetry.usage_ledger import USERS
from tests.docs.blocks import ROOT
from tests.server.test_errors import listed

DOCS = ROOT / "docs"


def in_code(page: str) -> set[str]:
    """Collect what a page writes as code."""
    return set(re.findall(r"`([^`\n]+)`", (DOCS / page).read_text()))


def test_every_endpoint_is_listed():
    told = {word for word in in_code("server/index.md") if re.match(r"[A-Z]+ /", word)}
    paths = document("/")["paths"]
    ours = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    jupyters = {"GET /metrics"}
    assert told == ours | jupyters


def test_every_code_of_the_api_is_explained_and_no_other():
    told = in_code("operations/troubleshooting.md")
    codes = {code for _, codes in listed().values() for code in codes}
    assert codes - told == set()
    table = (
        (DOCS / "operations/troubleshooting.md").read_text().partition("## Errors of the API")[2]
    )
    rows = re.findall(r"^\| ([^|]+) \| \d{3}", table, re.M)
    first = {found for row in rows for found in re.findall(r"`([a-z_]+)`", row)}
    assert first - codes == set()


def test_every_exception_of_the_notebook_is_explained():
    told = in_code("operations/troubleshooting.md")
    shown = {
        name
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, BaseException) and kind.__module__ == errors.__name__
    }
    assert shown - told == {"NotebookError"}


def test_every_metric_is_explained():
    assert metrics.REQUESTS is not None
    ours = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in (*REGISTRY.collect(), *USERS.collect())
        if family.name.startswith("mlx_notebook_")
    }
    assert ours
    told = {word for word in in_code("operations/metrics.md") if word.startswith("mlx_notebook_")}
    assert told == ours
