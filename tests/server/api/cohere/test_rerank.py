import math
from typing import Any

import pytest

from tests.references.record import DOCUMENTS, QUERY, recorded
from tests.server.running import HELLO, RunningServer, wait_for
from tests.server.telemetry.test_metrics import figures

SCORES = recorded("scores.json")


def rank(server: RunningServer, route: str = "v1/rerank", **parameters: Any) -> dict[str, Any]:
    body = {"model": "ranker", "query": QUERY, "documents": DOCUMENTS, **parameters}
    answer = server.client.post(route, json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


@pytest.mark.parametrize(
    ("model", "scores"),
    [("ranker", SCORES["bert"]), ("org/Qwen3-Reranker-tiny", SCORES["qwen3-reranker"])],
)
def test_documents_come_in_the_order_of_their_scores(
    server: RunningServer, model: str, scores: list[float]
) -> None:
    answer = rank(server, model=model)
    order = sorted(range(4), key=lambda index: -scores[index])
    assert [one["index"] for one in answer["results"]] == order
    expected = [1 / (1 + math.exp(-scores[index])) for index in order]
    given = [one["relevance_score"] for one in answer["results"]]
    assert given == pytest.approx(expected, abs=1e-4)
    raw = rank(server, model=model, raw_scores=True)
    logits = [one["relevance_score"] for one in raw["results"]]
    assert logits == pytest.approx([scores[index] for index in order], abs=5e-4)


def test_the_answer_has_the_shapes_of_cohere_and_jina(server: RunningServer) -> None:
    documents = ["a cat", {"text": "9 times 7", "title": "not read"}]
    answer = rank(server, "v2/rerank", documents=documents, top_n=1, return_documents=True)
    (best,) = answer["results"]
    assert set(answer) == {"id", "model", "results", "usage", "meta"}
    assert answer["id"].startswith("rerank-")
    assert best["document"] == {"text": ["a cat", "9 times 7"][best["index"]]}
    tokens = answer["usage"]["total_tokens"]
    assert tokens == answer["usage"]["prompt_tokens"] > 0
    assert answer["meta"] == {
        "api_version": {"version": "2"},
        "tokens": {"input_tokens": tokens, "output_tokens": 0},
    }
    assert "document" not in rank(server, documents=documents)["results"][0]
    assert rank(server)["meta"]["api_version"] == {"version": "1"}


def test_equal_documents_keep_their_order(server: RunningServer) -> None:
    answer = rank(server, documents=["a cat", "a dog", "a cat"])
    assert len(answer["results"]) == 3
    same = [one for one in answer["results"] if one["index"] != 1]
    assert [one["index"] for one in same] == [0, 2]
    assert same[0]["relevance_score"] == pytest.approx(same[1]["relevance_score"], abs=1e-6)


def test_without_a_name_a_model_that_ranks_is_taken(server: RunningServer) -> None:
    assert rank(server, model=None)["model"] in ("ranker", "org/Qwen3-Reranker-tiny")


def test_what_was_cut_is_told(server: RunningServer) -> None:
    long = ["rain " * 40] * 30
    warnings = rank(server, documents=["sun", *long])["meta"]["warnings"]
    assert warnings[0] == "Only the first 76 of 160 tokens of document 1 were read."
    assert (len(warnings), warnings[-1]) == (21, "10 more documents were cut.")
    assert "warnings" not in rank(server, documents=["sun", *long], max_tokens_per_doc=5)["meta"]
    body = {"model": "ranker", "query": QUERY, "documents": ["sun", *long], "truncation": False}
    refused = server.client.post("v1/rerank", json=body)
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert (error["param"], error["code"]) == ("documents[1]", "context_length_exceeded")
    assert "the query leaves room for 76 of the 96 that ranker reads" in error["message"]


@pytest.mark.parametrize(
    ("changes", "param", "code"),
    [
        ({"query": ""}, "query", "invalid_value"),
        ({"documents": []}, "documents", "invalid_value"),
        ({"documents": ["a", {"image": "b"}]}, "documents[1].text", "missing_parameter"),
        ({"documents": ["a"] * 2049}, "documents", "invalid_value"),
        ({"top_n": 0}, "top_n", "invalid_value"),
        ({"top_k": 2}, "top_k", "unsupported_parameter"),
        ({"rank_fields": ["title"]}, "rank_fields", "unsupported_parameter"),
        ({"relevant_spans": {"mode": "enabled"}}, "relevant_spans", "unsupported_parameter"),
        ({"instruction": "Find a cat"}, "instruction", "invalid_request"),
        ({"model": "tiny-chat"}, "model", "rerank_not_supported"),
        ({"model": "words"}, "model", "rerank_not_supported"),
        ({"model": "nonesuch"}, "model", "model_not_found"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(
    server: RunningServer, changes: dict[str, Any], param: str, code: str
) -> None:
    body = {"model": "ranker", "query": QUERY, "documents": ["a"], **changes}
    answer = server.client.post("v1/rerank", json=body)
    assert answer.status_code == (404 if code == "model_not_found" else 400), answer.text
    error = answer.json()["error"]
    assert (error["param"], error["code"]) == (param, code)
    if code == "model_not_found":
        assert "Use one of: org/Qwen3-Reranker-tiny, ranker." in error["message"]
    if code == "rerank_not_supported":
        assert "Models that do: org/Qwen3-Reranker-tiny, ranker." in error["message"]


def test_parameters_without_effect_are_listed(server: RunningServer) -> None:
    body = {"model": "ranker", "query": QUERY, "documents": ["a"], "priority": 3}
    body |= {"rank_fields": ["text"]}
    answer = server.client.post("v1/rerank", json=body)
    assert answer.headers["x-mlx-ignored-parameters"] == "priority, rank_fields"


@pytest.mark.parametrize("model", ["ranker", "org/Qwen3-Reranker-tiny"])
def test_a_reranker_writes_no_text(server: RunningServer, model: str) -> None:
    answer = server.client.post("v1/chat/completions", json={"model": model, "messages": HELLO})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "generation_not_supported")
    assert f"'{model}' is for v1/rerank and generates no text" in error["message"]


def test_a_cross_encoder_makes_no_vectors(server: RunningServer) -> None:
    answer = server.client.post("v1/embeddings", json={"model": "ranker", "input": "a"})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("ranker only ranks documents")


def test_a_setting_lets_a_chat_model_rank_and_chat(server: RunningServer) -> None:
    # Without the marks of the question in its vocabulary it could not be asked.
    url = "mlx/models/renamed/settings"
    assert server.client.put(url, json={"reranker": True}).status_code == 200
    answer = rank(server, model="renamed", raw_scores=True)
    scores = {one["index"]: one["relevance_score"] for one in answer["results"]}
    expected = dict(enumerate(SCORES["qwen3-reranker"]))
    assert scores == pytest.approx(expected, abs=5e-4)
    assert server.chat(model="renamed", max_tokens=2).status_code == 200
    listed = server.client.get("v1/models/renamed").json()["capabilities"]
    assert {"chat", "rerank"} <= set(listed)
    assert server.client.put(url, json={}).status_code == 200


def test_a_reranker_is_loaded_counted_and_unloaded_like_any_other(server: RunningServer) -> None:
    def listed() -> Any:
        models = server.client.get("mlx/models").json()["models"]
        return next(model for model in models if model["id"] == "ranker")

    default = server.client.get("v1/models").json()["data"][0]["id"]
    before = figures(server)
    answer = rank(server)
    after = figures(server)
    wait_for(lambda: listed()["state"] == "resident", 10)
    model = listed()
    assert (model["capabilities"], model["context_length"]) == (["rerank"], 96)
    assert model["memory_bytes"] > 10_000
    assert server.client.get("v1/models").json()["data"][0]["id"] == default
    key = ("mlx_notebook_reranked_tokens_total", ("ranker",))
    assert after[key] - before.get(key, 0) == answer["usage"]["total_tokens"]
    freed = server.client.post("mlx/models/unload", json={"model": "ranker"}).json()["freed"]
    assert freed > 10_000
