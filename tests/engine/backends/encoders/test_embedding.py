import io
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest

from mlx_notebook.engine.backends.backend import Backend, GeneratingBackend, Vectors
from mlx_notebook.engine.backends.selection import load
from mlx_notebook.engine.errors import InvalidRequest, LoadFailed
from mlx_notebook.engine.kv_cache.prefix_cache import PrefixCache
from mlx_notebook.engine.residency.memory_need import footprint
from mlx_notebook.engine.runtime.activity import Activity
from mlx_notebook.engine.scheduling.prompt_workers import Outcome, PromptWorkers
from mlx_notebook.model_files.embedding_files import max_input_tokens
from mlx_notebook.protocol import (
    ChatPrompt,
    EncodedImage,
    EngineConfig,
    Generate,
    ModelOptions,
    TextPrompt,
    Tokenize,
)
from tests.engine.backends.vision.test_vision import image_bytes
from tests.tiny_models.embedders import KINDS, embedder
from tests.tiny_models.models import gemma3, lfm2, qwen3, qwen_vl

TEXTS = ["a", "one word or two", "this text is the longest of all", "it has a middle length"]


def loaded(folder: Path, **options: Any) -> Backend:
    slices = load(
        folder.name,
        folder,
        ModelOptions(**options),
        EngineConfig(),
        PrefixCache(4, 2**20, None),
        ThreadPoolExecutor(2),
    )
    while True:
        try:
            next(slices)
        except StopIteration as end:
            backend: Backend = end.value
            return backend


def embedded(backend: Backend, inputs: list[list[int]], chunk: int = 512) -> tuple[Vectors, int]:
    """The vectors, and how many pieces they were made in."""
    work, pieces = backend.embed(inputs, chunk), 1
    while True:
        try:
            next(work)
            pieces += 1
        except StopIteration as end:
            return end.value, pieces


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_has_the_vector_that_the_library_gives_it_alone(tmp_path: Path, kind: str) -> None:
    import mlx.core as mx
    from mlx_vlm.embedding_loader import load_embedding_model

    folder = embedder(tmp_path / f"{kind}-embedding", kind)
    backend = loaded(folder)
    inputs = [backend.prepare(TextPrompt(text=text)).tokens for text in TEXTS]
    vectors, _ = embedded(backend, inputs)
    library = load_embedding_model(folder)
    for tokens, vector in zip(inputs, vectors, strict=True):
        expected = np.array(library(mx.array([tokens])).text_embeds[0])
        np.testing.assert_allclose(vector, expected, atol=2e-5)
    assert vectors.shape == (4, 32)
    assert np.abs(vectors[0] - vectors[1]).max() > 0.01


def test_the_weights_of_all_folders_count(tmp_path: Path) -> None:
    folder = embedder(tmp_path / "gemma", "gemma3_text", pooling="mean_tokens")
    need = footprint("gemma", folder, ModelOptions())
    backend = loaded(folder)
    assert need.total == need.weights == backend.nbytes == backend.base.nbytes
    files = folder.rglob("*.safetensors")
    assert backend.nbytes > 0.8 * sum(file.stat().st_size for file in files)


@pytest.mark.parametrize(
    ("kind", "pooling"), [("bert", "cls_token"), ("bert", "max_tokens"), ("qwen3", "mean_tokens")]
)
def test_vectors_are_pooled_as_the_models_own_files_say(
    tmp_path: Path, kind: str, pooling: str
) -> None:
    told = loaded(embedder(tmp_path / "told", kind, pooling=pooling))
    silent = loaded(embedder(tmp_path / "an-embedding-of-the-same-seed", kind))
    tokens = [told.prepare(TextPrompt(text=text)).tokens for text in TEXTS]
    assert np.abs(embedded(told, tokens)[0] - embedded(silent, tokens)[0]).max() > 0.01


@pytest.mark.parametrize("make", [qwen3, gemma3, lfm2, None])
def test_a_long_text_in_pieces_has_the_vector_that_it_has_in_one(
    tmp_path: Path, make: Callable[[Path], Path] | None
) -> None:
    # The last one is an embedding model that does not look ahead.
    backend = loaded(make(tmp_path / "m") if make else embedder(tmp_path / "embedding", "qwen3"))
    tokens = backend.prepare(TextPrompt(text="a text of more than a few tokens, " * 2)).tokens[:60]
    whole, one = embedded(backend, [tokens], 60)
    pieced, pieces = embedded(backend, [tokens], 7)
    assert (one, pieces) == (1, 9)
    whole, pieced = (vectors / np.linalg.norm(vectors) for vectors in (whole, pieced))
    np.testing.assert_allclose(pieced, whole, atol=2e-5)


def test_the_longest_input_is_told_by_the_files(tmp_path: Path) -> None:
    def limit(folder: Path) -> int | None:
        return max_input_tokens(folder, json.loads((folder / "config.json").read_text()))

    assert limit(embedder(tmp_path / "short", "bert", limit=16)) == 16
    assert limit(embedder(tmp_path / "plain", "bert")) == 64
    file = tmp_path / "plain" / "tokenizer_config.json"
    file.write_text(json.dumps({"model_max_length": 10**30}))
    assert max_input_tokens(tmp_path / "plain", {"model_type": "bert"}) is None
    assert (
        max_input_tokens(
            tmp_path / "plain",
            {"model_type": "xlm-roberta", "pad_token_id": None, "max_position_embeddings": 514},
        )
        == 512
    )
    roberta = embedder(tmp_path / "roberta", "xlm-roberta")
    assert limit(roberta) == 48
    assert (loaded(roberta).context_length, loaded(roberta, context_limit=9).context_length) == (
        48,
        9,
    )


def test_it_writes_nothing(tmp_path: Path) -> None:
    backend = loaded(embedder(tmp_path / "words", "bert"))
    assert not isinstance(backend, GeneratingBackend)
    chat, text = ChatPrompt(messages=[]), TextPrompt(text="go on")
    inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
    with ThreadPoolExecutor() as pool:
        workers = PromptWorkers(EngineConfig(), PrefixCache(1, 1), pool, inbox, Activity())
        for job in (
            Generate(id="text", model="words", path="", prompt=text),
            Generate(id="chat", model="words", path="", prompt=chat),
            Tokenize(id="tokens", model="words", path="", prompt=chat),
        ):
            outcomes: list[Outcome] = []
            workers.prepare(job, backend, outcomes.append)
            inbox.get(timeout=60)()
            (refused,) = outcomes
            assert isinstance(refused, InvalidRequest)
            assert refused.message.startswith("words embeds texts and writes none")
            assert refused.param == "model"


@pytest.mark.parametrize(
    ("changes", "options", "sentence"),
    [
        ({"modules.json": [{"type": "custom_st.Transformer", "path": ""}]}, {}, "custom_st"),
        (
            {"modules.json": [{"type": "sentence_transformers.models.Dense", "path": "2"}]},
            {},
            "models.Dense, which is not supported",
        ),
        (
            {"modules.json": [{"type": "sentence_transformers.models.Pooling", "path": "../x"}]},
            {},
            "leads out of its folder",
        ),
        ({"1_Pooling/config.json": {"pooling_mode_weightedmean_tokens": True}}, {}, "weightedmean"),
        ({"config.json": {"auto_map": {"AutoModel": "code.Model"}}}, {}, "asks to run Python code"),
        ({}, {"adapter": "folder"}, "adapter is for text models"),
        ({}, {"draft": "folder"}, "draft is for text models"),
        ({}, {"kv_bits": 8}, "kv_bits is for text models"),
        ({}, {"prompt_lookup": 3}, "prompt_lookup is for text models"),
    ],
)
def test_what_would_be_left_out_is_refused(
    tmp_path: Path, changes: dict[str, Any], options: dict[str, Any], sentence: str
) -> None:
    folder = embedder(tmp_path / "words", "bert", pooling="mean_tokens")
    for name, held in changes.items():
        if isinstance(held, dict):
            held = json.loads((folder / name).read_text()) | held
            held.pop("pooling_mode_mean_tokens", None)
        (folder / name).write_text(json.dumps(held))
    with pytest.raises(LoadFailed, match=sentence):
        loaded(folder, **options)


def test_a_model_for_texts_and_images_gives_the_librarys_own_vectors(tmp_path: Path) -> None:
    import mlx.core as mx
    from mlx_vlm.encoder_loader import load_encoder_model
    from mlx_vlm.utils import load_processor, prepare_inputs
    from PIL import Image

    folder = qwen_vl(tmp_path / "eyes-embedding")
    backend = loaded(folder)
    chats = []
    for kind, part in (("image", image_bytes(1)), ("image", image_bytes(2)), ("text", b"a cat")):
        content: Any = part.decode() if kind == "text" else [{"type": "image"}]
        images = [EncodedImage(data=part, where="input")] if kind == "image" else []
        chats.append(ChatPrompt(messages=[{"role": "user", "content": content}], images=images))
    names = {"qwen3_vl": "qwen3_vl_embedding"}
    library = load_encoder_model(folder, model_remapping=names)
    processor = load_processor(folder, False)
    found = []
    for chat in [*chats, *reversed(chats)]:
        prepared = backend.prepare_chat(chat)
        found.append(prepared.embed()[0])
        text = processor.tokenizer.apply_chat_template(
            chat.messages, tokenize=False, add_generation_prompt=True
        )
        shown = [Image.open(io.BytesIO(image.data)) for image in chat.images]
        inputs = prepare_inputs(processor, images=shown or None, prompts=text)
        # The library keeps the positions of the last input.
        library.language_model._position_ids = None
        theirs = np.array(library(**inputs).text_embeds.astype(mx.float32))[0]
        assert np.allclose(found[-1], theirs, atol=1e-5)
        assert len(prepared.tokens) == inputs["input_ids"].shape[1]
    # Nothing of one input stays for the next.
    assert np.allclose(found[:3], found[:2:-1], atol=1e-6)
    assert not np.allclose(found[0], found[1], atol=1e-3)
    texts, _ = embedded(backend, [[5, 6, 7], [5, 6]])
    assert np.allclose(texts[1], embedded(backend, [[5, 6]])[0][0], atol=1e-5)
    with pytest.raises(InvalidRequest, match="embeds no images"):
        loaded(embedder(tmp_path / "words", "bert")).prepare_chat(chats[0])
