"""What is remembered of kernels is bounded."""

from mlx_notebook.server.models.use.notebook_usage import NotebookUsage


def test_kernels_and_models_beyond_a_bound_are_forgotten_the_oldest_first() -> None:
    presence = NotebookUsage(3600)
    for number in range(1100):
        presence.note(f"kernel-{number}", "model")
    assert presence.models("kernel-0") == []
    assert presence.models("kernel-1099") == ["model"]
    for number in range(100):
        presence.note("kernel-1099", f"model-{number}")
    assert len(presence.models("kernel-1099")) == 64
    presence.note("x" * 10_000, "model")
    assert presence.models("x" * 10_000) == []


def test_nothing_is_kept_where_open_notebooks_do_not_count() -> None:
    presence = NotebookUsage(0)
    presence.note("kernel", "model")
    assert presence.models("kernel") == []
