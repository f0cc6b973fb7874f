"""The panel names the states of models as magics do."""

import re
from pathlib import Path

from mlx_notebook.notebook.server.model_states import state_name
from mlx_notebook.panels.models import models_panel
from mlx_notebook.panels.models.models_panel import ModelsPanel


def test_a_saved_notebook_shows_each_model_with_its_state_in_words():
    panel = ModelsPanel()
    states = ("resident", "available", "downloadable", "loading")
    panel.update_fields(models={state: {"state": state} for state in states})
    assert dict(panel.summary_rows()) == {
        "resident": "in memory",
        "available": "on this machine",
        "downloadable": "available to download",
        "loading": "loading",
    }


def test_the_lists_of_the_panel_have_the_words_of_the_states_that_they_show():
    script = Path(models_panel.__file__).with_name("models.js").read_text()
    groups = dict(re.findall(r'^  \["([^"]+)", \["(\w+)"\],', script, re.MULTILINE))
    assert {title.lower(): state_name(state) for title, state in groups.items()} == {
        "in memory": "in memory",
        "on this machine": "on this machine",
        "available to download": "available to download",
    }
