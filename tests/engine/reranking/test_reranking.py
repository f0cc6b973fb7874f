"""Scores equal to those of sentence-transformers, which `tests/references/record.py` recorded."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mlx_notebook.engine.backends.backend import Backend
from mlx_notebook.engine.backends.selection import load
from mlx_notebook.engine.errors import ContextOverflow, EngineError, InvalidRequest, LoadFailed
from mlx_notebook.engine.generation.reranking_job import RerankingJob
from mlx_notebook.engine.kv_cache.prefix_cache import PrefixCache
from mlx_notebook.protocol import EngineConfig, ModelOptions, Rerank, Reranked
from tests.references.record import DOCUMENTS, QUERY, recorded
from tests.tiny_models.models import qwen3
from tests.tiny_models.rerankers import (
    CROSS_ENCODERS,
    PAIR_TEMPLATE,
    cross_encoder,
    reference_models,
    yes_no_reranker,
)

ALL = (*CROSS_ENCODERS, "qwen3-reranker", "logit-score")
# Logits of up to 14, which differ by the order of sums.
CLOSE = 5e-4


def loaded(folder: Path, **options: Any) -> Backend:
    settings = EngineConfig(warm_up=False)
    arguments = ModelOptions(**options), settings, PrefixCache(4, 2**20, None)
    slices = load(folder.name, folder, *arguments, ThreadPoolExecutor(2))
    while True:
        try:
            next(slices)
        except StopIteration as end:
            backend: Backend = end.value
            return backend


def ranked(backend: Backend, chunk: int = 4096, **changes: Any) -> tuple[Reranked, int]:
    """The answer, and how many steps it took."""
    fields = {"query": QUERY, "documents": DOCUMENTS, **changes}
    command = Rerank(id="1", model=backend.name, path="", **fields)
    assert backend.reranker is not None
    job = RerankingJob(command, backend.reranker, backend.reranker.pairs(command), chunk)
    steps = 1
    while (answer := job.step()) is None:
        steps += 1
    return answer, steps


@pytest.fixture(scope="module")
def backends(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Backend]:
    made = reference_models(tmp_path_factory.mktemp("models"))
    return {name: loaded(folder) for name, folder in made.items()}


@pytest.mark.parametrize("name", ALL)
def test_the_scores_are_those_of_the_reference(backends: dict[str, Backend], name: str) -> None:
    answer, steps = ranked(backends[name])
    assert answer.scores == pytest.approx(recorded("scores.json")[name], abs=CLOSE)
    assert max(answer.scores) - min(answer.scores) > 1
    assert (steps, answer.truncated) == (1, [])


@pytest.mark.parametrize("name", ALL)
def test_a_score_depends_on_no_other_document(backends: dict[str, Backend], name: str) -> None:
    together, _ = ranked(backends[name])
    alone = [ranked(backends[name], documents=[document])[0] for document in DOCUMENTS]
    assert [one.scores[0] for one in alone] == pytest.approx(together.scores, abs=CLOSE)
    assert sum(one.tokens for one in alone) == together.tokens
    pieced, steps = ranked(backends[name], chunk=40)
    assert pieced.scores == pytest.approx(together.scores, abs=CLOSE)
    assert steps >= 4


def test_a_long_document_is_cut_and_that_is_told(backends: dict[str, Backend]) -> None:
    long = "rain " * 30 + "and sun"
    answer, _ = ranked(backends["bert"], documents=["sun", long])
    around = len(QUERY.replace(" ", "")) + 3
    assert answer.truncated == [(1, 126, 96 - around)]
    assert answer.tokens == 96 + around + 3
    with pytest.raises(ContextOverflow, match="Document 1 has 126 tokens") as caught:
        ranked(backends["bert"], documents=["sun", long], truncate=False)
    assert caught.value.param == "documents[1]"


@pytest.mark.parametrize("name", ["bert", "qwen3-reranker", "logit-score"])
def test_only_the_first_tokens_of_a_document_are_read(
    backends: dict[str, Backend], name: str
) -> None:
    cut, _ = ranked(backends[name], documents=["sunshine"], max_tokens_per_document=3)
    short, _ = ranked(backends[name], documents=["sun"])
    assert cut.scores == pytest.approx(short.scores, abs=CLOSE)
    assert (cut.tokens, cut.truncated) == (short.tokens, [])


def test_an_empty_document_has_a_score_too(backends: dict[str, Backend]) -> None:
    for name in ("bert", "qwen3-reranker"):
        answer, _ = ranked(backends[name], documents=["", "sun"])
        assert answer.scores[0] != answer.scores[1]


def test_a_query_that_leaves_no_room_is_refused(backends: dict[str, Backend]) -> None:
    with pytest.raises(ContextOverflow, match="Shorten the query") as caught:
        ranked(backends["bert"], query="word " * 30)
    assert caught.value.param == "query"
    with pytest.raises(ContextOverflow) as caught:
        ranked(backends["bert"], documents=["", "x" * 2**21])
    assert caught.value.param == "documents[1]"


def test_an_instruction_changes_the_scores_of_models_that_take_one(
    backends: dict[str, Backend],
) -> None:
    for name in ("qwen3-reranker", "logit-score"):
        plain, _ = ranked(backends[name])
        told, _ = ranked(backends[name], instruction="Find a cat")
        assert told.scores != pytest.approx(plain.scores, abs=0.01)
    with pytest.raises(InvalidRequest, match="takes no instruction"):
        ranked(backends["bert"], instruction="Find a cat")


def test_a_setting_lets_a_language_model_rank(tmp_path: Path) -> None:
    folder = yes_no_reranker(tmp_path / "renamed")
    assert loaded(folder).reranker is None
    answer, _ = ranked(loaded(folder, reranker=True))
    assert answer.scores == pytest.approx(recorded("scores.json")["qwen3-reranker"], abs=CLOSE)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"hidden_act": "relu"}, "its hidden_act is 'relu', which is not supported"),
        ({"position_embedding_type": "relative_key"}, "its position_embedding_type is"),
    ],
)
def test_an_encoder_that_would_score_otherwise_is_refused(
    tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(LoadFailed, match=sentence):
        loaded(cross_encoder(tmp_path / "bert", "bert", **changes))


def test_a_language_model_that_cannot_be_asked_is_refused(tmp_path: Path) -> None:
    plain = qwen3(tmp_path / "plain")
    with pytest.raises(LoadFailed, match="no token for 'yes'"):
        loaded(plain, reranker=True)
    folder = yes_no_reranker(tmp_path / "no-roles", template=PAIR_TEMPLATE)
    file = folder / "tokenizer_config.json"
    settings = json.loads(file.read_text())
    file.write_text(json.dumps({**settings, "chat_template": "{{ messages[0].content }}"}))
    with pytest.raises(LoadFailed, match="no roles 'query' and 'document'"):
        loaded(folder)
    (folder / "1_LogitScore" / "config.json").write_text('{"true_token_id": 100000}')
    file.write_text(json.dumps(settings))
    with pytest.raises(LoadFailed, match="a token that its tokenizer does not have"):
        loaded(folder)


def test_scores_that_are_no_numbers_are_an_error(backends: dict[str, Backend]) -> None:
    class Broken:
        def score(self, batch: list[Any], chunk: int) -> Any:
            yield from ()
            return [float("nan")] * len(batch)

    command = Rerank(id="1", model="bert", path="", query=QUERY, documents=["a"])
    reranker = backends["bert"].reranker
    assert reranker is not None
    broken: Any = Broken()
    with pytest.raises(EngineError, match="no numbers"):
        RerankingJob(command, broken, reranker.pairs(command), 512).step()
