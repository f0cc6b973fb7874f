"""Magics and panels have the same words for the same states."""

import re
from pathlib import Path

from mlx_notebook import panels
from mlx_notebook.notebook.server.state_names import (
    engine_state_name,
    model_state_name,
    request_phase_name,
)

FOLDER = Path(panels.__file__).parent


def test_the_lists_of_the_models_panel_are_titled_with_the_states_of_models():
    script = (FOLDER / "models" / "models.js").read_text()
    groups = dict(re.findall(r'^  \["([^"]+)", \["(\w+)"\],', script, re.MULTILINE))
    assert {title.lower(): model_state_name(state) for title, state in groups.items()} == {
        "in memory": "in memory",
        "on this machine": "on this machine",
        "available to download": "available to download",
        "at upstreams": "at an upstream",
    }


def test_the_activity_panel_names_phases_and_the_engine_alike():
    script = (FOLDER / "stats" / "stats.js").read_text()
    phases = re.search(r"const PHASES = \{(.*?)\};", script, re.DOTALL)
    named = dict(re.findall(r'(\w+): "([^"]+)"', phases[1]))
    assert named == {phase: request_phase_name(phase) for phase in named}
    assert set(named) == {"queued", "loading", "prefill", "decode"}
    assert f'engine.state === "stopped" ? "{engine_state_name("stopped")}"' in script


def test_other_states_are_words_already():
    assert model_state_name("loading") == "loading"
    assert engine_state_name("running") == "running"
    assert request_phase_name("queued") == "queued"
