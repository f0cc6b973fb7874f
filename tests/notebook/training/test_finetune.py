"""`finetune` in a cell: its mistakes, an interrupt, the same call again, and what is shown."""

import json
from xml.etree import ElementTree

import pytest

ROWS = "[(f'What is the code of room {i}?', f'It is {7 * i}.') for i in range(8)]"
CALL = f"tuned = mlx_notebook.finetune('tiny-chat', {ROWS}, name='rooms', steps=40, rank=2)"

# The stop button, pressed when the cell shows the second step.
PRESS = """
import signal
from mlx_notebook.notebook.training.training_view import TrainingView
update = TrainingView.update
def press(self, job, records):
    update(self, job, records)
    if len(self.train) >= 2 and job["state"] == "running":
        TrainingView.update = update
        signal.raise_signal(signal.SIGINT)
TrainingView.update = press
"""


@pytest.fixture(scope="module", autouse=True)
def _imported(kernel):
    kernel.run("import mlx_notebook")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("finetune('tiny-chat', [('a', 7)], name='x')", "Row 0 cannot be learned"),
        ("finetune('nowhere', [('a', 'b')] * 4, name='x')", "nowhere"),
        ("finetune('tiny-chat', [('a', 'b')] * 4, name='../x')", "'name' is not valid"),
        ("finetune('tiny-chat', [('a', 'b')] * 4, name='x', rang=2)", "rang"),
        ("merge('tiny-chat', 'x')", "has no adapter to merge"),
    ],
)
def test_mistakes_are_told_in_one_sentence(kernel, call, said):
    cell = kernel.run(f"mlx_notebook.{call}", check=False)
    assert said in cell.evalue
    assert len(cell.traceback) == 1


def test_an_interrupt_saves_a_checkpoint_and_the_same_call_goes_on(kernel):
    kernel.run(PRESS)
    cell = kernel.run(CALL, check=False)
    assert cell.ename == "Interrupted"
    assert cell.evalue.endswith("a checkpoint is saved. The same call goes on from there.")
    assert len(cell.traceback) == 1
    words, image = kernel.run(CALL).outputs
    assert "The training goes on from step" in words["text/plain"]
    assert "done, step 40 of 40" in words["text/plain"]
    assert "What is the code of room" in words["text/html"]
    assert ElementTree.fromstring(image["image/svg+xml"]).attrib["role"] == "img"
    curve = json.loads(kernel.run("import json; print(json.dumps(tuned.curve))").stdout)
    assert [step for step, _ in curve["train"]] == list(range(1, 41))
    assert kernel.value("tuned.name") == "tiny-chat+rooms"
    assert kernel.value("len(tuned.held_out)") == 1
    assert kernel.value("mlx_notebook.Chat(model=tuned.name).ask('Hello', max_tokens=3).text")
    assert "tiny-chat+rooms" in kernel.run("%mlx jobs").said
