"""Conversion of tiny random models in this process, with a channel that collects messages."""

import io
import json
import math
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx_lm.utils import load_model, load_tokenizer

from mlx_notebook.engine.conversion.converting import convert
from mlx_notebook.engine.conversion.perplexity import TEXT, WINDOW, perplexity, windows_of
from mlx_notebook.engine.errors import InvalidRequest
from mlx_notebook.engine.jobs.job_channel import JobChannel, StopWanted
from mlx_notebook.protocol import ConvertSpec, JobNote, JobProgress, StopJob
from tests.tiny_models.gguf_models import QWEN3, gguf_and_folder
from tests.tiny_models.models import lfm2, qwen3

pytestmark = pytest.mark.usefixtures("without_compiling")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return qwen3(tmp_path_factory.mktemp("source") / "random", hidden_size=128, context=128)


class Collecting(JobChannel):
    """A channel that keeps messages, and wants the job to stop in a phase."""

    def __init__(self, stop_in: str | None = None) -> None:
        super().__init__(io.BytesIO(), io.BytesIO())
        self.sent: list[Any] = []
        self._stop_in = stop_in

    def send(self, message: Any) -> None:
        self.sent.append(message)
        if isinstance(message, JobProgress) and message.phase == self._stop_in:
            self._wish = StopJob()

    @property
    def phases(self) -> list[str]:
        return list(dict.fromkeys(one.phase for one in self.sent if isinstance(one, JobProgress)))


def spec(source: Path, place: Path, **changes: Any) -> ConvertSpec:
    settings: dict[str, Any] = {
        "model": "random",
        "path": str(source),
        "bytes": 1000,
        "name": "new",
        "folder": str(place / "new"),
        "work": str(place / ".unfinished" / "new"),
        "text": TEXT[:300],
        **changes,
    }
    return ConvertSpec(**settings)


def config_of(folder: Path) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return settings


@pytest.mark.parametrize(
    ("changes", "bits"),
    [
        ({"bits": 4}, 4.5),
        ({"bits": 4, "method": "awq"}, 4.5),
        ({"bits": 4, "method": "dwq"}, 4.5),
        ({"bits": 4, "recipe": "mixed_4_6"}, 4.8),
        ({"bits": None, "dtype": "bfloat16"}, 16.0),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else None,
)
def test_the_new_model_has_its_bits_and_is_about_as_good(
    changes: dict[str, Any], bits: float, source: Path, tmp_path: Path
) -> None:
    channel = Collecting()
    result = convert(spec(source, tmp_path, **changes), channel)
    assert (result["model"], result["path"]) == ("new", str(tmp_path / "new"))
    assert result["bits_per_weight"] == pytest.approx(bits, rel=0.12)
    assert result["bytes"] < result["bytes_before"]
    model, _ = load_model(tmp_path / "new")
    tokenizer = load_tokenizer(tmp_path / "new")
    windows = windows_of(tokenizer.encode(TEXT[:300]), 128)
    model.set_dtype(mx.float32)
    assert perplexity(model, windows) == pytest.approx(result["perplexity"], rel=1e-3)
    before, after = math.log(result["perplexity_before"]), math.log(result["perplexity"])
    assert after == pytest.approx(before, rel=0.1)
    assert "checking the model as it is" in channel.phases
    assert channel.phases[-2:] == ["checking the new model", "writing"]
    assert tokenizer.has_chat_template
    assert not (tmp_path / ".unfinished" / "new").exists()


def test_a_gguf_file_becomes_a_folder_that_computes_the_same(tmp_path: Path) -> None:
    file, folder = gguf_and_folder(tmp_path, QWEN3, "Q4_1")
    channel = Collecting()
    convert(spec(file, tmp_path, bits=None, dtype="float32"), channel)
    # It was quantised, and quantising again would lose more.
    assert any("quantised already" in one.text for one in channel.sent if isinstance(one, JobNote))
    made, theirs = (load_model(place)[0] for place in (tmp_path / "new", folder))
    tokens = mx.array([[5, 6, 7, 8]])
    assert np.allclose(np.array(made(tokens)), np.array(theirs(tokens)), atol=2e-3, rtol=1e-3)
    tokenizer = load_tokenizer(tmp_path / "new")
    vocabulary = tokenizer.get_vocab()
    assert set(config_of(tmp_path / "new")["eos_token_id"]) == {
        vocabulary["<|im_end|>"],
        vocabulary["<|endoftext|>"],
    }
    assert tokenizer.encode("Hello 12") == load_tokenizer(folder).encode("Hello 12")


@pytest.mark.parametrize(
    ("method", "phase"),
    [
        ("dwq", "training by DWQ"),
        ("plain", "checking the new model"),
        ("plain", "writing"),
    ],
)
def test_a_stopped_conversion_leaves_nothing(
    method: str, phase: str, source: Path, tmp_path: Path
) -> None:
    with pytest.raises(StopWanted) as stop:
        convert(spec(source, tmp_path, method=method), Collecting(stop_in=phase))
    assert stop.value.text == "The conversion was stopped. Nothing of it is kept."
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / ".unfinished" / "new").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"text": "a"}, "less than two tokens"),
        ({"path": "/nowhere"}, "cannot be converted"),
        ({"method": "dwq", "text": "short"}, "give a longer text"),
    ],
)
def test_what_cannot_be_converted_is_told(
    changes: dict[str, Any], words: str, source: Path, tmp_path: Path
) -> None:
    with pytest.raises(InvalidRequest, match=words):
        convert(spec(source, tmp_path, **changes), Collecting())
    assert not (tmp_path / "new").exists()


def test_awq_names_the_architectures_that_it_has(tmp_path: Path) -> None:
    source = lfm2(tmp_path / "lfm2")
    with pytest.raises(InvalidRequest, match=r"AWQ for .*qwen3.* and not for lfm2"):
        convert(spec(source, tmp_path, method="awq"), Collecting())


def test_a_window_of_even_probabilities_has_the_vocabulary_as_perplexity() -> None:
    def even(tokens: mx.array) -> mx.array:
        return mx.zeros((*tokens.shape, 50))

    windows = windows_of(list(range(20)) * 60, 4096)
    assert [window.size for window in windows] == [WINDOW, WINDOW, 1200 - 2 * WINDOW]
    assert math.isclose(perplexity(even, windows), 50, rel_tol=1e-5)
