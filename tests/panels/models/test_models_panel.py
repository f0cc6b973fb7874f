"""The panel names the states of models as magics do."""

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
