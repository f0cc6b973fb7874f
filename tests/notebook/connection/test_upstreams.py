"""A notebook whose model runs at another server: cells, tools, magics, recordings, completion."""

import json

import pytest

from tests.notebook.jupyter import JupyterServer

MODEL = "lab:tiny-chat"


@pytest.fixture(scope="module")
def near(tmp_path_factory, server):
    """A server whose upstream is the server of the other tests."""
    upstreams = {"lab": {"url": f"{server.url}v1", "key_env": "LAB_KEY"}}
    home = tmp_path_factory.mktemp("near")
    (home / "config").mkdir()
    config = {"MlxNotebookApp": {"upstreams": upstreams}}
    (home / "config" / "jupyter_server_config.json").write_text(json.dumps(config))
    near = JupyterServer(home, LAB_KEY=server.token)
    yield near
    near.stop()


@pytest.fixture(scope="module")
def kernel(near):
    kernel = near.kernel()
    kernel.run("%load_ext mlx_notebook")
    kernel.run(
        'ran = []\ndef weather(city: str) -> str:\n    "Get the weather of a city."\n'
        "    ran.append(city)\n    return 'sunny'"
    )
    yield kernel
    kernel.stop()


def test_its_model_is_listed_and_completed(kernel):
    said = kernel.run("%mlx models").said
    assert MODEL in said
    assert "at an upstream" in said
    assert "at 127.0.0.1:" in said
    # Other tests of this process may have made models there.
    assert {MODEL, "lab:tiny-vision"} <= set(kernel.complete("%mlx load lab"))
    assert "state:         at an upstream" in kernel.run(f"%mlx show {MODEL}").said


def test_a_cell_calls_tools_through_it(kernel, near):
    question = "What is the weather in Paris?"
    cell = kernel.run(f"%%chat -t 0 --model {MODEL} --tools weather\n{question}")
    assert kernel.value("ran") == ["Paris"]
    assert "sunny" in "".join(output.get("text/plain", "") for output in cell.outputs)
    trace = near.request("mlx/traces")["data"][0]
    assert near.request(f"mlx/traces/{trace['id']}")["upstream"]["name"] == "lab"
    assert near.status()["engine"]["state"] == "stopped"
    kernel.run("%mlx reset")


def test_it_can_be_chosen_but_not_loaded(kernel):
    said = kernel.run(f"%mlx load {MODEL}").said
    assert said == f"{MODEL} answers from now on. It runs at an upstream, not on this machine.\n"
    assert "Hello" in kernel.run("%%chat -t 0\nHello!").said
    for line in (f"unload {MODEL}", f"pin {MODEL}", f"pull {MODEL}", f"load {MODEL} --pin"):
        cell = kernel.run(f"%mlx {line}", check=False)
        assert cell.ename == "RequestRefused", line
        assert "runs at an upstream" in cell.evalue


def test_a_parameter_that_it_does_not_have_is_one_sentence(kernel):
    code = (
        f"from mlx_notebook import Chat\nChat(model={MODEL!r}, extra_body={{'top_k': 3}}).ask('Hi')"
    )
    cell = kernel.run(code, check=False)
    assert cell.ename == "RequestRefused"
    assert (
        "'top_k' is for models on this machine. The upstream 'lab' does not have it" in cell.evalue
    )


def test_its_answers_are_recorded_and_replayed(kernel, tmp_path):
    file = tmp_path / "run.recorded.json"
    cell = f"%%chat -t 0 --model {MODEL} --new\nHello!"
    kernel.run(f"%mlx record {file}")
    first = kernel.run(cell).outputs[0]["text/markdown"]
    kernel.run("%mlx record stop")
    assert "LAB_KEY" not in file.read_text()
    kernel.run(f"%mlx replay {file} --speed max")
    try:
        assert kernel.run(cell).outputs[0]["text/markdown"] == first
    finally:
        kernel.run("%mlx replay stop")


def test_the_key_is_not_in_the_notebook(kernel, server):
    assert kernel.value("'LAB_KEY' in __import__('os').environ") is False
