import json
import logging
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from mlx_notebook.server.errors import NotFound, Unavailable
from mlx_notebook.server.models import model_folders, suggestions
from mlx_notebook.server.models.catalog import Catalog
from mlx_notebook.server.models.catalog_entry import CatalogEntry
from mlx_notebook.server.models.settings.model_settings import ModelSettings, ModelSettingsStore

pytestmark = pytest.mark.anyio
EMPTY = (2).to_bytes(8, "little") + b"{}"
LOG = logging.getLogger("test")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Hugging Face cache."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    return tmp_path / "hf" / "hub"


def model(folder: Path, **config: Any) -> Path:
    """Write what the catalog looks at: a config and weights that hold no tensors."""
    folder.mkdir(parents=True)
    settings = {"model_type": "qwen3", "max_position_embeddings": 4096, **config}
    (folder / "config.json").write_text(json.dumps(settings))
    (folder / "model.safetensors").write_bytes(EMPTY)
    return folder


def cached(cache: Path, name: str, revision: str = "abc", **config: Any) -> Path:
    """Write a model as huggingface_hub stores it."""
    repository = cache / f"models--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True, exist_ok=True)
    (repository / "refs" / "main").write_text(revision)
    return model(repository / "snapshots" / revision, **config)


async def names(catalog: Catalog) -> list[str]:
    return [entry.name for entry in await catalog.entries()]


async def test_the_embedded_model_is_always_there() -> None:
    catalog = Catalog(log=LOG)
    entry = await catalog.find("tiny-chat")
    assert entry.source == "embedded"
    assert (entry.path / "config.json").is_file()
    assert entry.context_window


async def test_models_are_found_in_folders_by_both_layouts(tmp_path: Path) -> None:
    model(tmp_path / "models" / "plain")
    model(tmp_path / "models" / "org" / "name", max_position_embeddings=77)
    catalog = Catalog(folders=[str(tmp_path / "models")], log=LOG)
    assert (await catalog.find("plain")).source == "folder"
    assert (await catalog.find("org/name")).context_window == 77


async def test_models_are_found_in_the_cache_at_the_revision_of_main(cache: Path) -> None:
    cached(cache, "org/some--name", revision="old")
    path = cached(cache, "org/some--name", revision="new")
    entry = await Catalog(log=LOG).find("org/some--name")
    assert entry.path == path
    assert entry.source == "cache"


async def test_only_models_that_run_here_are_listed(cache: Path) -> None:
    cached(cache, "a/text", architectures=["LlamaForCausalLM"])
    cached(
        cache, "a/nested", text_config={"max_position_embeddings": 9}, max_position_embeddings=None
    )
    cached(cache, "a/encoder", model_type="distilbert", architectures=["DistilBertModel"])
    cached(cache, "a/ranks", model_type="bert", architectures=["BertForSequenceClassification"])
    cached(cache, "a/embeds", model_type="bert", architectures=["BertModel"])
    sound = ["WhisperForConditionalGeneration"]
    cached(cache, "a/sound", model_type="whisper", architectures=sound)
    cached(cache, "a/no-type", model_type=None)
    (cached(cache, "a/no-weights") / "model.safetensors").unlink()
    (cached(cache, "a/broken") / "config.json").write_text("{")
    (cache / "datasets--a--b").mkdir()
    catalog = Catalog(log=LOG)
    listed = await names(catalog)
    assert {"a/text", "a/nested", "a/embeds", "a/sound"} <= set(listed)
    left_out = {"a/encoder", "a/ranks", "a/no-type", "a/no-weights", "a/broken"}
    assert not left_out & set(listed)
    assert (await catalog.find("a/embeds")).facts.capabilities == ("embeddings",)
    assert (await catalog.find("a/sound")).facts.capabilities == ("transcription",)
    assert (await catalog.find("a/nested")).context_window == 9


async def test_models_that_see_are_those_that_mlx_vlm_runs(cache: Path) -> None:
    config: dict[str, Any] = {"vision_config": {"depth": 2}}
    write = ["Qwen3VLForConditionalGeneration"]
    search = ["ColQwen2_5"]
    for name, kind, architectures, more in (
        ("a/sees", "qwen3_vl", write, {}),
        ("a/hears-too", "gemma3n", [], {"audio_config": {}}),
        ("a/renamed", "llava-qwen2", ["LlavaForCausalLM"], {}),
        ("a/unknown", "seven_eyes", write, {}),
        ("a/search", "colqwen2_5", search, {}),
        ("a/broken", "qwen3_vl", [], {"vision_config": 7}),
    ):
        settings = {"model_type": kind, "architectures": architectures, **config, **more}
        folder = cached(cache, name, **settings)
        shard(folder / "model.safetensors", name="visual.blocks.0.mlp.weight")
    cached(cache, "a/text", architectures=["Qwen3ForCausalLM"])
    cached(cache, "a/hears", model_type="qwen3", audio_config={})
    cached(cache, "a/text-only", model_type="gemma3", architectures=write, **config)
    cached(cache, "a/by-mlx-lm", model_type="gemma3", architectures=write)
    cached(cache, "a/eyes-only", model_type="paligemma", architectures=write, **config)
    coming = cached(cache, "a/coming", model_type="paligemma", architectures=write, **config)
    index = {"weight_map": {"x": "model-00001-of-00001.safetensors"}}
    (coming / "model.safetensors.index.json").write_text(json.dumps(index))
    entries = {entry.name: entry for entry in await Catalog(log=LOG).all_entries()}
    assert {name for name, entry in entries.items() if entry.takes_images} >= {
        *("a/sees", "a/hears-too", "a/renamed", "a/coming")
    }
    for name in ("a/text", "a/text-only", "a/by-mlx-lm"):
        assert not entries[name].takes_images
    assert not {"a/unknown", "a/search", "a/hears", "a/broken", "a/eyes-only"} & set(entries)


async def test_a_name_is_never_a_path(tmp_path: Path) -> None:
    model(tmp_path / "models" / "inside")
    model(tmp_path / "outside")
    catalog = Catalog(folders=[str(tmp_path / "models")], log=LOG)
    for name in ("../outside", str(tmp_path / "outside"), "inside/../inside", "./inside", "Inside"):
        with pytest.raises(NotFound, match="inside, tiny-chat") as caught:
            await catalog.find(name)
        assert caught.value.code == "model_not_found"


async def test_the_error_for_an_unknown_name_lists_models_for_the_same_use(cache: Path) -> None:
    cached(cache, "a/embeds", architectures=["BertModel"], model_type="bert")
    catalog = Catalog(aliases={"small": "tiny-chat", "words": "a/embeds"}, log=LOG)
    for use, listed in (
        ("text", "Use one of: small, tiny-chat, tiny-vision."),
        ("embeddings", "Use one of: a/embeds, words."),
        ("speech", "No model here reads texts aloud."),
        (None, "Use one of: a/embeds, small, tiny-chat, tiny-vision, words."),
    ):
        with pytest.raises(NotFound) as caught:
            await catalog.find("nonesuch", use=use)
        assert caught.value.message == (
            f"There is no model 'nonesuch' here. {listed} "
            "`%mlx load ORG/NAME` downloads one from Hugging Face."
        )
    with pytest.raises(NotFound, match="`%mlx load org/name` downloads it"):
        await catalog.find("org/name", use="text")


async def test_a_model_with_code_of_its_own_needs_to_be_trusted_by_name(cache: Path) -> None:
    cached(cache, "a/file", model_file="evil.py")
    cached(cache, "a/map", auto_map={"AutoModel": "evil.Model"})
    catalog = Catalog(log=LOG)
    for name in ("a/file", "a/map"):
        with pytest.raises(NotFound, match="trusted_models"):
            await catalog.find(name)
    assert await names(catalog) == ["tiny-chat", "tiny-vision"]
    catalog = Catalog(trusted=["a/file"], log=LOG)
    assert (await catalog.find("a/file")).facts.has_code
    with pytest.raises(NotFound):
        await catalog.find("a/map")


async def test_aliases_lead_to_models(cache: Path) -> None:
    cached(cache, "a/one")
    catalog = Catalog(aliases={"one": "a/one", "gone": "a/gone"}, log=LOG)
    assert (await catalog.find("one")).name == "a/one"
    with pytest.raises(NotFound):
        await catalog.find("gone")


class TestTheDefault:
    async def test_is_the_configured_one_first(self, cache: Path) -> None:
        cached(cache, "a/one")
        cached(cache, "a/two")
        catalog = Catalog(default="a/one", last_used=lambda user: "a/two", log=LOG)
        assert (await catalog.find(None)).name == "a/one"

    async def test_then_the_one_used_last(self, cache: Path) -> None:
        cached(cache, "a/two")
        assert (await Catalog(log=LOG).find(None)).name == "tiny-chat"
        catalog = Catalog(last_used=lambda user: "a/two", log=LOG)
        assert (await catalog.find(None)).name == "a/two"
        assert (await names(catalog))[0] == "a/two"

    async def test_is_told_when_it_is_missing(self) -> None:
        listed = await names(Catalog(default="a/gone", log=LOG))
        assert listed == ["tiny-chat", "tiny-vision"]


async def test_an_unknown_name_may_mean_the_loaded_model(cache: Path) -> None:
    cached(cache, "a/one")
    with pytest.raises(NotFound):
        await Catalog(unknown="loaded", log=LOG).find("gpt-4")
    catalog = Catalog(unknown="loaded", last_used=lambda user: "a/one", log=LOG)
    assert (await catalog.find("gpt-4")).name == "a/one"


async def test_a_model_that_appears_is_found_and_one_that_goes_is_not(cache: Path) -> None:
    catalog = Catalog(log=LOG)
    with pytest.raises(NotFound):
        await catalog.find("a/new")
    path = cached(cache, "a/new")
    found: CatalogEntry = await catalog.find("a/new")
    (path / "config.json").unlink()
    with pytest.raises(NotFound):
        await catalog.find(found.name)


async def test_the_layout_of_lm_studio_is_one_of_publishers(tmp_path: Path) -> None:
    model(tmp_path / ".lmstudio" / "models" / "lmstudio-community" / "Some-Model-MLX-4bit")
    catalog = Catalog(folders=[str(tmp_path / ".lmstudio" / "models")], log=LOG)
    assert (await catalog.find("lmstudio-community/Some-Model-MLX-4bit")).source == "folder"


def linked(folder: Path) -> list[str]:
    """Make links in a configured folder, and return the names of what they lead to."""
    inside = model(folder / "models" / "org" / "inside")
    outside = model(folder / "outside" / "name")
    (folder / "models" / "linked").symlink_to(outside)
    (folder / "models" / "org" / "linked").symlink_to(outside)
    (folder / "models" / "parent").symlink_to(outside.parent)
    (folder / "models" / "again").symlink_to(inside)
    return ["linked", "org/linked", "parent/name"]


async def test_a_link_out_of_a_configured_folder_is_followed_where_its_owner_made_it(
    tmp_path: Path,
) -> None:
    outside = linked(tmp_path)
    catalog = Catalog(folders=[str(tmp_path / "models")], log=LOG)
    assert set(await names(catalog)) >= {"again", "org/inside", *outside}


async def test_a_link_that_someone_else_made_says_why_it_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    linked(tmp_path)
    (tmp_path / "models" / "nowhere").symlink_to(tmp_path / "gone")
    plain = Path.lstat

    def of_a_stranger(path: Path) -> os.stat_result:
        status = list(plain(path))
        status[stat.ST_UID] += 1
        return os.stat_result(status)

    monkeypatch.setattr(Path, "lstat", of_a_stranger)
    catalog = Catalog(folders=[str(tmp_path / "models")], log=LOG)
    assert await names(catalog) == ["tiny-chat", "again", "org/inside", "tiny-vision"]
    problems = {entry.name: catalog.problem(entry) for entry in await catalog.all_entries()}
    for name in ("linked", "org/linked", "parent"):
        assert "made neither by the owner" in (problems[name] or "")
    assert "leads nowhere" in (problems["nowhere"] or "")
    with pytest.raises(Unavailable, match=r"leads out of MlxNotebookApp\.models_dirs"):
        await catalog.find("linked")


def shard(
    file: Path, *, dtype: str = "BF16", size: int = 1000, cut: int = 0, name: str = "w"
) -> None:
    tensor = {"dtype": dtype, "shape": [size // 2], "data_offsets": [0, size]}
    header = json.dumps({name: tensor})
    content = len(header).to_bytes(8, "little") + header.encode() + bytes(size)
    file.write_bytes(content[: len(content) - cut])


async def test_memory_is_predicted_from_the_headers(cache: Path) -> None:
    settings = {
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 1,
        "hidden_size": 64, "max_position_embeddings": 100,
    }  # fmt: skip
    path = cached(cache, "a/two", **settings)
    (path / "model.safetensors").unlink()
    shard(path / "model-00001-of-00002.safetensors")
    shard(path / "model-00002-of-00002.safetensors", dtype="U32", size=500)
    entry = await Catalog(log=LOG).find("a/two")
    kept = 2 * 2 * 2 * 1 * 16 * 100
    assert entry.footprint(full_precision=False).total == 1500 + kept
    assert entry.footprint(full_precision=True).total == 2500 + 2 * kept


async def test_damaged_weights_are_told_and_nothing_is_loaded(cache: Path) -> None:
    for name, content in (("a/empty", b""), ("a/garbage", b"x" * 99)):
        (cached(cache, name) / "model.safetensors").write_bytes(content)
    shard(cached(cache, "a/cut") / "model.safetensors", cut=10)
    catalog = Catalog(log=LOG)
    for name, said in (("a/empty", "cut off"), ("a/garbage", "no safeten"), ("a/cut", "are there")):
        with pytest.raises(Unavailable, match=said) as caught:
            await catalog.find(name)
        assert caught.value.code == "model_load_failed"
    shard(cache / "models--a--cut" / "snapshots" / "abc" / "model.safetensors")
    assert (await catalog.find("a/cut")).name == "a/cut"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not readable JSON"),
        ('{"top_p": "high"}', "top_p in .* no number"),
        ('{"temperature": NaN}', "not readable JSON"),
        ('{"temperature": -1}', "temperature in .* is -1, and must be 0 or more"),
        ('{"top_p": 2}', "top_p in .* is 2, and must be from 0 to 1"),
        ('{"top_k": 1e40}', r"top_k in .* is 1e\+40"),
    ],
)
async def test_sampling_settings_that_nobody_can_read_are_told(
    cache: Path, content: str, said: str
) -> None:
    path = cached(cache, "a/odd")
    (path / "generation_config.json").write_text(content)
    with pytest.raises(Unavailable, match=said):
        await Catalog(log=LOG).find("a/odd")
    (path / "generation_config.json").write_text('{"temperature": 0.6, "eos_token_id": 2}')
    assert (await Catalog(log=LOG).find("a/odd")).facts.sampling_defaults == {"temperature": 0.6}


async def test_a_blob_that_was_taken_out_of_the_cache_is_a_missing_file(cache: Path) -> None:
    weights = cached(cache, "a/gone") / "model.safetensors"
    weights.unlink()
    weights.symlink_to("../../blobs/gone")
    with pytest.raises(NotFound, match="1 of its files"):
        await Catalog(log=LOG).find("a/gone")


async def test_missing_shards_are_told_with_how_to_get_them(cache: Path) -> None:
    path = cached(cache, "a/part")
    index = {"weight_map": {"x": "model-00001-of-00002.safetensors", "y": "model.safetensors"}}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(NotFound, match="`%mlx pull a/part`") as caught:
        await Catalog(log=LOG).find("a/part")
    assert caught.value.code == "model_incomplete"


@pytest.mark.parametrize(
    ("name", "template", "capabilities"),
    [
        ("a/plain", "{{ messages }}", ("chat",)),
        (
            "a/all",
            "{% if tools %}{% endif %}{% if enable_thinking %}",
            ("chat", "tools", "reasoning"),
        ),
        ("a/Some-Embedding-4bit", "{{ messages }}", ("embeddings",)),
        ("a/base", None, ()),
    ],
)
async def test_capabilities_are_read_from_the_chat_template(
    cache: Path, name: str, template: str | None, capabilities: tuple[str, ...]
) -> None:
    path = cached(cache, name, quantization={"bits": 4, "group_size": 64})
    if template is not None:
        (path / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
    facts = (await Catalog(log=LOG).find(name)).facts
    assert facts.capabilities == capabilities
    assert facts.quantization == "4-bit"


async def test_the_built_in_short_names_lead_to_models_that_are_here(cache: Path) -> None:
    catalog = Catalog(log=LOG)
    with pytest.raises(NotFound, match="mlx-community/gemma-3-4b-it-4bit"):
        await catalog.find("gemma")
    cached(cache, "mlx-community/gemma-3-4b-it-4bit")
    assert (await catalog.find("gemma")).name == "mlx-community/gemma-3-4b-it-4bit"
    cached(cache, "a/own")
    catalog = Catalog(aliases={"gemma": "a/own"}, log=LOG)
    assert (await catalog.find("gemma")).name == "a/own"
    assert {"gemma", "qwen", "qwen3.5-9b"} <= set(suggestions.aliases())


async def test_a_pinned_revision_is_the_model_of_that_name(cache: Path) -> None:
    cached(cache, "a/one", revision="old")
    cached(cache, "a/one", revision="new")
    (cache / "models--a--one" / "refs" / "v1").write_text("old")
    for revision, expected in (("v1", "old"), ("old", "old"), (None, "new"), ("../main", "new")):
        settings = ModelSettingsStore({"a/one": ModelSettings(revision=revision)}, None, LOG)
        entry = await Catalog(settings=settings, log=LOG).find("a/one")
        assert entry.path.name == expected


async def test_an_embedding_model_that_cannot_be_run_says_so(cache: Path) -> None:
    (cached(cache, "a/one", model_type="mistral") / "modules.json").write_text("[]")
    with pytest.raises(Unavailable, match="no embedding model of the kind mistral can be run"):
        await Catalog(log=LOG).find("a/one")


async def test_a_model_that_only_embeds_is_never_the_default(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_folders, "_EMBEDDED", cache / "nothing")
    cached(cache, "a/embeds", model_type="bert", architectures=["BertModel"])
    cached(cache, "b/writes")
    catalog = Catalog(log=LOG)
    assert await catalog.default() == "b/writes"
    assert not catalog.generates_text("a/embeds")
