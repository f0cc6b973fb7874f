"""Settings that change while the server runs, and come back at its next start."""

import json
import logging
from pathlib import Path

import pytest
from traitlets import Float, HasTraits, List, Unicode

from mlx_notebook.server.errors import Forbidden, Unavailable
from mlx_notebook.server.models.settings.changeable_settings import (
    ChangeableSettings,
    fixed_settings,
)

pytestmark = pytest.mark.anyio
LOG = logging.getLogger("test")


class App(HasTraits):
    """The traits that may change, as the app has them."""

    default_model = Unicode("", help="A model.\n\n    It answers.")
    completion_model = Unicode("")
    models_dirs = List(Unicode())
    idle_unload_minutes = Float(15.0, min=0.0)


def settings(app: App, folder: Path, **fixed: str) -> ChangeableSettings:
    made = ChangeableSettings(app, fixed, folder / "data" / "settings.json", LOG)
    made.restore()
    return made


async def test_a_change_is_told_kept_and_taken_back(tmp_path: Path) -> None:
    app, told = App(), []
    app.observe(lambda change: told.append((change["name"], change["new"])))
    changing = settings(app, tmp_path)
    await changing.change({"idle_unload_minutes": 2.5, "default_model": "org/model"})
    assert sorted(told) == [("default_model", "org/model"), ("idle_unload_minutes", 2.5)]
    assert changing.value("default_model") == "org/model"
    assert changing.description("default_model") == "A model. It answers."
    again = App()
    second = settings(again, tmp_path)
    assert (again.idle_unload_minutes, again.default_model) == (2.5, "org/model")
    await second.change({"idle_unload_minutes": None})
    assert again.idle_unload_minutes == second.default("idle_unload_minutes") == 15.0
    file = tmp_path / "data" / "settings.json"
    assert json.loads(file.read_text()) == {"default_model": "org/model"}
    assert file.stat().st_mode & 0o077 == 0


async def test_what_the_configuration_sets_stays(tmp_path: Path) -> None:
    before = App()
    await settings(before, tmp_path).change({"default_model": "saved", "models_dirs": ["/m"]})
    app = App(default_model="configured")
    fixed = fixed_settings(["default_model"], alone=True)
    assert set(fixed) == {"default_model", "models_dirs"}
    changing = settings(app, tmp_path, **fixed)
    assert (app.default_model, app.models_dirs) == ("configured", [])
    with pytest.raises(Forbidden, match=r"MlxNotebookApp\.default_model") as refused:
        await changing.change({"idle_unload_minutes": 1.0, "default_model": None})
    assert refused.value.param == "default_model"
    assert app.idle_unload_minutes == 15.0


async def test_a_file_that_cannot_be_used_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "data" / "settings.json"
    file.parent.mkdir()
    file.write_text('{"idle_unload_minutes": -1, "unknown": 2, "completion_model": "code"}')
    app = App()
    settings(app, tmp_path)
    assert (app.idle_unload_minutes, app.completion_model) == (15.0, "code")
    assert "idle_unload_minutes" in caplog.text
    file.write_text("{")
    settings(App(), tmp_path)
    assert "cannot be used" in caplog.text
    file.unlink()
    file.mkdir()
    with pytest.raises(Unavailable, match="The settings are not saved"):
        await settings(app, tmp_path).change({"completion_model": "other"})
    assert app.completion_model == "code"
