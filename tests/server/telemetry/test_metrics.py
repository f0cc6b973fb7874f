from prometheus_client.parser import text_string_to_metric_families

from tests.server.running import HELLO, RunningServer


def figures(server: RunningServer) -> dict[tuple[str, tuple[str, ...]], float]:
    """All of ours from Jupyter's `/metrics`, by name and labels."""
    text = server.client.get("metrics").raise_for_status().text
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        if family.name.startswith("mlx_notebook_")
        for sample in family.samples
    }


def test_jupyters_metrics_count_requests_tokens_and_times(server: RunningServer) -> None:
    server.works()
    before = figures(server)
    answer = server.chat(model="tiny-chat", ignore_eos=True, max_tokens=30, temperature=1).json()
    server.chat(temperature=9)
    embedded = server.client.post("v1/embeddings", json={"input": "x", "model": "tiny-chat"}).json()
    body = {"messages": HELLO, "max_tokens": 2, "stream": True, "model": "tiny-chat"}
    assert server.client.post("v1/chat/completions", json=body).text.endswith("[DONE]\n\n")
    after = figures(server)

    def grown(name: str, *labels: str) -> float:
        key = (f"mlx_notebook_{name}", labels)
        return after[key] - before.get(key, 0)

    assert grown("requests_total", "200", "v1/chat/completions") == 2
    assert grown("requests_total", "400", "v1/chat/completions") == 1
    assert grown("requests_total", "200", "v1/embeddings") == 1
    assert grown("errors_total", "invalid_value") == 1
    usage = answer["usage"]
    assert grown("generated_tokens_total", "tiny-chat") == usage["completion_tokens"] + 2
    assert grown("prompt_tokens_total", "tiny-chat") == 2 * usage["prompt_tokens"]
    assert grown("embedded_tokens_total", "tiny-chat") == embedded["usage"]["prompt_tokens"] > 0
    assert 0 < grown("cached_prompt_tokens_total", "tiny-chat") < 2 * usage["prompt_tokens"]
    assert grown("time_to_first_token_seconds_count", "tiny-chat") == 2
    assert grown("time_to_first_token_seconds_sum", "tiny-chat") > 0
    assert grown("inter_token_seconds_count", "tiny-chat") > 0
    assert grown("queue_seconds_count", "tiny-chat") == 2
    assert grown("request_seconds_count", "tiny-chat") == 2


def test_names_and_units_follow_prometheus_conventions(server: RunningServer) -> None:
    text = server.client.get("metrics").text
    for family in text_string_to_metric_families(text):
        if not family.name.startswith("mlx_notebook_") or family.name.endswith("_created"):
            continue
        assert family.documentation
        if family.type == "histogram":
            assert family.name.endswith("_seconds")
        else:
            assert family.type == "counter"
            assert all(sample.name.endswith("_total") for sample in family.samples)
