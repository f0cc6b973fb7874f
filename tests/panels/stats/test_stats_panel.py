"""The panel shows the largest context in use."""

from mlx_notebook.panels.stats.stats_panel import _context

LIMITS = {"m": 100}


def request(prompt, generated, limit=100):
    return {"prompt_tokens": prompt, "generated_tokens": generated, "limit": limit}


def test_of_several_requests_the_fullest_counts():
    requests = {"a": request(10, 5), "b": request(30, 5), "c": request(900, 0, limit=None)}
    assert _context(requests, [], LIMITS) == {"used": 35, "limit": 100}


def test_without_a_running_request_the_last_one_counts():
    usage = {"prompt_tokens": 20, "completion_tokens": 4}
    traces = [{"model": "m", "usage": usage}, {"model": "m", "usage": None}]
    assert _context({}, traces, LIMITS) == {"used": 24, "limit": 100}
    assert _context({}, traces, {}) is None
    assert _context({}, [], LIMITS) is None


def test_while_a_request_runs_the_last_one_does_not_count():
    usage = {"prompt_tokens": 90, "completion_tokens": 4}
    requests = {"a": request(0, 0)}
    assert _context(requests, [{"model": "m", "usage": usage}], LIMITS) is None
