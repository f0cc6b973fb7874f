"""The panel Users without a browser: what it takes from the server, and what a saved file shows."""

from types import SimpleNamespace

from mlx_notebook.panels.admin.admin_panel import AdminPanel


def row(user: str, **changes: int) -> dict[str, object]:
    counts = {"requests": 0, "prompt_tokens": 0, "generated_tokens": 0, "refused": 0}
    return {"user": user, **counts, **changes}


def test_a_saved_notebook_shows_the_counts_of_each_user():
    users = [
        row("bob", requests=1200, prompt_tokens=900, generated_tokens=200),
        row("ann", refused=2),
        row(""),
    ]
    about = {"totals": {}, "since": 1.0, "all_users": True, "admin_reads_texts": False}
    panel = AdminPanel()
    panel.update_fields(**panel.build_fields(SimpleNamespace(usage={"users": users, **about})))
    assert panel.summary_rows() == [
        ("ann", "requests: 0, tokens: 0, refused: 2"),
        ("bob", "requests: 1,200, tokens: 1,100, refused: 0"),
        ("server's token", "requests: 0, tokens: 0, refused: 0"),
    ]


def test_without_an_answer_of_the_server_it_shows_nothing():
    panel = AdminPanel()
    assert panel.build_fields(SimpleNamespace(usage=None)) == {}
    assert panel.summary_rows() == []
