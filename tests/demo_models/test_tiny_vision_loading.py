"""mlx-vlm loads tiny-vision's folder as it is: offline, without torch, batched.

The weights are random here; what is tested is the layout, the processor and the positions.
"""

from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from PIL import Image

from mlx_notebook.demo_models.training.tiny_vision import folder as files
from mlx_notebook.demo_models.training.tiny_vision.answering import InProcess, parsed
from mlx_notebook.demo_models.training.tiny_vision.cases import Case, cases
from mlx_notebook.demo_models.training.tiny_vision.network.positions import positions
from tests.tiny_models.models import tiny_vision


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `export` writes it, with random weights."""
    return tiny_vision(tmp_path_factory.mktemp("tiny-vision"))


@pytest.fixture(scope="module")
def answerer(model_folder: Path) -> InProcess:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.hf_hub_download", _no_network)
        return InProcess(model_folder)


def _no_network(*_: Any, **__: Any) -> Any:
    raise AssertionError("the model was to be loaded from its folder alone")


def some_cases() -> list[Case]:
    wanted = {"shape", "two pictures", "follow-up", "tool call", "text"}
    return [case for case in cases(2, seed=7) if case.skill in wanted]


def test_weights_and_files_stay_within_ten_megabytes(model_folder: Path) -> None:
    # Float32 here; the shipped weights have half the size.
    weights = (model_folder / "model.safetensors").stat().st_size / 2
    rest = sum(
        file.stat().st_size for file in model_folder.iterdir() if file.suffix != ".safetensors"
    )
    assert weights + rest <= 10_000_000


def test_positions_equal_mlx_vlms(answerer: InProcess) -> None:
    token = files.special_tokens()["<|image_pad|>"]
    for case in some_cases():
        if not case.pictures:
            continue
        row, given = answerer._prompt(case)
        images = [Image.fromarray(pixels) for pixels in case.pictures]
        grid = answerer.processor.image_processor(images)["image_grid_thw"]
        ours = positions(row, [(int(h) // 2, int(w) // 2) for _, h, w in grid], token)
        assert np.array(given["position_ids"])[:, 0].tolist() == ours


@pytest.mark.slow
def test_a_batch_of_pictures_and_text_answers_as_each_case_alone(answerer: InProcess) -> None:
    chosen = some_cases()
    together = answerer.answers(chosen)
    assert together == [answerer.answers([case])[0] for case in chosen]
    assert len(set(map(str, together))) > 1


def test_another_picture_of_the_same_size_changes_what_the_model_sees(answerer: InProcess) -> None:
    rng = np.random.default_rng(0)
    messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "?"}]}]
    seen = []
    for _ in range(2):
        pixels = rng.integers(0, 256, (100, 130, 3), dtype=np.uint8)
        _, given = answerer._prompt(Case("shape", "", messages, [pixels], ""))
        seen.append(np.array(given["inputs_embeds"]))
    assert seen[0].shape == seen[1].shape
    assert np.abs(seen[0] - seen[1]).max() > 1e-3


def test_tool_calls_are_read_from_the_models_text() -> None:
    text, calls = parsed(
        '<tool_call>\n{"name": "save", "arguments": {"colour": "red"}}\n</tool_call>'
    )
    assert (text, calls) == ("", [("save", {"colour": "red"})])
    assert parsed("<tool_call>\n{broken\n</tool_call>")[1] == [("", "{broken")]


def test_torch_and_mlx_vlm_agree(tmp_path: Path) -> None:
    """Needs the trainer's torch, which the package's own environment does not hold."""
    torch = pytest.importorskip("torch", reason="torch is installed for training only")
    from mlx_notebook.demo_models.training.tiny_vision.export import export
    from mlx_notebook.demo_models.training.tiny_vision.network.model import TinyVision
    from mlx_notebook.demo_models.training.tiny_vision.train import SHAPE as SIZES
    from mlx_notebook.demo_models.training.tiny_vision.viewing_batches import patches

    torch.manual_seed(0)
    network = TinyVision(SIZES)
    network.load_state_dict({k: v.bfloat16().float() for k, v in network.state_dict().items()})
    export(network.state_dict(), SIZES, tmp_path)
    running = InProcess(tmp_path)
    pixels = np.random.default_rng(1).integers(0, 256, (96, 160, 3), dtype=np.uint8)
    messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Hi"}]}]
    row, given = running._prompt(Case("shape", "", messages, [pixels], ""))
    theirs = running.model.language_model(mx.array([row]), **given).logits
    with torch.no_grad():
        seen = network.visual(torch.from_numpy(patches(pixels))[None], 12, 20)[0]
        token = files.special_tokens()["<|image_pad|>"]
        x = network.embed(torch.tensor([row]), seen, token)
        where = torch.tensor(positions(row, [(6, 10)], token))[:, None]
        ours = network.logits(network.language_model(x, where))
    np.testing.assert_allclose(np.array(theirs), ours.numpy(), atol=2e-4)


def test_cases_are_the_same_for_the_same_seed() -> None:
    one, two = (list(cases(1, seed=11)) for _ in range(2))
    assert [case.answer for case in one] == [case.answer for case in two]
    assert all(
        np.array_equal(p, q)
        for a, b in zip(one, two, strict=True)
        for p, q in zip(a.pictures, b.pictures, strict=True)
    )
