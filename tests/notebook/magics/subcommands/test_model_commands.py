"""`%mlx models`, `load`, `unload`, `pull`: below a real server, from a stand-in of the hub."""

import json
import threading
import time

import pytest

from tests.hub import Repository, hub, tiny_chat
from tests.notebook.jupyter import JupyterServer, wait_for

CONVERSATION = "get_ipython().magics_manager.registry['MlxMagics'].conversation"
HELD = 2_000_000
"""Where transfers are held, in bytes."""


@pytest.fixture(scope="module")
def the_hub():
    with hub() as running:
        yield running


@pytest.fixture(scope="module")
def server(tmp_path_factory, the_hub):
    home = tmp_path_factory.mktemp("jupyter")
    adapter = home / "models" / "lora" / "mine"
    adapter.mkdir(parents=True)
    (adapter / "adapters.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    (adapter / "adapter_config.json").write_text('{"model": "tiny-chat"}')
    config = {"MlxNotebookApp": {"models_dirs": [str(home / "models")]}}
    (home / "config").mkdir()
    (home / "config" / "jupyter_server_config.json").write_text(json.dumps(config))
    server = JupyterServer(home, **the_hub.env(home / "hf"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def kernel(server):
    kernel = server.kernel()
    kernel.loaded = kernel.run("%load_ext mlx_notebook")
    yield kernel
    kernel.stop()


@pytest.fixture(autouse=True)
def _willing(the_hub, kernel):
    yield
    the_hub.released.set()
    the_hub.hold_after = None
    kernel.run(f"{CONVERSATION}.model = None\n%mlx load tiny-chat")


def fresh(the_hub, name):
    """A model of that name on the hub, which nobody has downloaded yet."""
    the_hub.models[name] = Repository.of({**tiny_chat(), "README.md": name.encode()})
    return name


def error_of(kernel, code, **how):
    cell = kernel.run(code, check=False, **how)
    assert cell.status == "error", cell
    assert cell.traceback == [f"{cell.ename}: {cell.evalue}"]
    return cell.ename, cell.evalue


def test_models_are_a_static_table_of_those_that_are_here(kernel):
    (table,) = kernel.run("%mlx models").outputs
    assert set(table) == {"text/plain", "text/html"}
    (line,) = [line for line in table["text/plain"].splitlines() if line.startswith("tiny-chat ")]
    assert "chat, tools, reasoning" in line
    assert "server default; demonstration" in line
    assert ">model</th>" in table["text/html"]
    assert ">tiny-chat</td>" in table["text/html"]
    assert "mlx-community" not in table["text/plain"]


def test_all_models_are_those_to_download_too(kernel):
    (table,) = kernel.run("%mlx models --all embeddings").outputs
    lines = table["text/plain"].splitlines()[1:]
    assert len(lines) >= 2
    assert all("available to download" in line and "about " in line for line in lines)
    assert "No model here matches 'nonesuch'" in kernel.run("%mlx models nonesuch").stdout


def test_a_model_is_pulled_with_progress_that_leaves_text(kernel, the_hub):
    name = fresh(the_hub, "org/pulled")
    the_hub.hold_after = HELD
    the_hub.released.clear()

    threading.Timer(1.5, the_hub.released.set).start()
    cell = kernel.run(f"%mlx pull {name}")
    assert cell.updates >= 1
    (left,) = cell.outputs
    assert left["text/plain"].startswith("org/pulled is downloaded: 6.2 MB in ")
    assert set(left) == {"text/plain", "text/html"}
    again = kernel.run(f"%mlx pull {name}")
    assert again.stdout == "org/pulled was already downloaded: 6.2 MB.\n"


def test_an_interrupt_stops_the_download_and_the_next_goes_on_from_there(kernel, server, the_hub):
    name = fresh(the_hub, "org/interrupted")
    the_hub.hold_after = HELD
    the_hub.released.clear()
    before = the_hub.sent.total()

    def interrupt_when_held():
        wait_for(lambda: the_hub.sent.total() - before >= HELD, what="the first bytes")
        time.sleep(0.5)  # for the download to write them
        kernel.interrupt()

    threading.Thread(target=interrupt_when_held, daemon=True).start()
    error = error_of(kernel, f"%mlx pull {name}")
    assert error[0] == "Interrupted"
    assert "`%mlx pull org/interrupted` continues from there" in error[1]
    wait_for(lambda: not server.status()["downloads"], 30, "the download to stop")
    (table,) = kernel.run("%mlx models interrupted").outputs
    assert "partly downloaded" in table["text/plain"]
    the_hub.released.set()
    the_hub.sent.clear()
    kernel.run(f"%mlx pull {name}")
    assert sum(the_hub.sent.values()) < 6_000_000 - HELD / 2


def test_loading_a_model_that_is_not_here_downloads_it_and_it_answers(kernel, the_hub):
    name = fresh(the_hub, "org/loaded")
    said = kernel.run(f"%mlx load {name}").said
    assert "org/loaded is downloaded: 6.2 MB in " in said
    assert "org/loaded is loaded (in " in said
    assert f"model: {name}\n" in kernel.run("%mlx status").stdout
    kernel.run("%%chat -t 0 --max-tokens 5\nHello!")
    (table,) = kernel.run("%mlx models loaded").outputs
    assert "in memory" in table["text/plain"]
    assert "answers here" in table["text/plain"]
    assert "org/loaded is unloaded; " in kernel.run("%mlx unload").stdout


def test_a_revision_is_pulled(kernel, the_hub):
    assert "org/tiny is downloaded" in kernel.run("%mlx pull org/tiny --revision v1").said


@pytest.mark.parametrize(
    ("code", "name", "said"),
    [
        ("%mlx pull", "BadMagic", "it needs a model's name"),
        ("%mlx load", "BadMagic", "it needs a model's name"),
        ("%mlx load a --fast", "BadMagic", "Unknown option --fast."),
        ("%mlx pull 'a", "BadMagic", "quotation mark is not closed"),
        ("%mlx pull org/nonesuch", "ModelNotFound", "There is no model 'org/nonesuch' at"),
        ("%mlx load org/nonesuch", "ModelNotFound", "There is no model 'org/nonesuch' at"),
        ("%mlx load nonesuch", "ModelNotFound", "There is no model 'nonesuch' here"),
        ("%mlx pull org/tiny --revision v9", "DownloadFailed", "no revision 'v9'"),
        ("%mlx pull tiny-chat", "RequestRefused", "nothing to download"),
        ("%mlx pin", "BadMagic", "it needs a model's name"),
        ("%mlx pin org/tiny", "RequestRefused", "load it first"),
        ("%mlx load tiny-chat --adapter a", "RequestRefused", "no adapter 'a'"),
        ("%mlx unload nonesuch", "ModelNotFound", "nonesuch"),
        ("%mlx load tiny-chat --adapter lora/mine", "RequestRefused", "safetensors is empty"),
    ],
)
def test_what_goes_wrong_is_one_sentence(kernel, code, name, said):
    ename, evalue = error_of(kernel, code)
    assert ename == name
    assert said in evalue


def test_a_gated_model_and_a_full_disk_are_told(kernel, the_hub):
    gated = fresh(the_hub, "org/gated")
    the_hub.models[gated].gated = True
    assert error_of(kernel, f"%mlx load {gated}")[0] == "DownloadFailed"
    large = fresh(the_hub, "org/large")
    the_hub.models[large].claimed["model.safetensors"] = 10**15
    ename, evalue = error_of(kernel, f"%mlx pull {large}")
    assert ename == "DoesNotFit"
    assert "GB are free" in evalue


def test_a_model_is_pinned_and_let_go_again(kernel, server):
    assert "It is pinned" in kernel.run("%mlx load tiny-chat --pin").said
    assert "state:         in memory, pinned" in kernel.run("%mlx show tiny-chat").stdout
    assert kernel.run("%mlx unpin tiny-chat").stdout == "tiny-chat is no longer pinned.\n"
    assert not server.status()["models"][0]["pinned"]
    assert "is pinned" in kernel.run("%mlx pin tiny-chat").stdout
    kernel.run("%mlx unpin tiny-chat")


def test_a_model_is_shown_with_its_figures_and_settings(kernel, server):
    shown = kernel.run("%mlx show tiny-chat").stdout
    for said in ("context:       4,096 tokens", "fits:          yes", "architecture:  qwen3"):
        assert said in shown
    kernel.run("%mlx load tiny-chat")
    path = "mlx/models/tiny-chat/settings"
    server.request(path, {"context_limit": 2048}, "PUT")
    shown = kernel.run("%mlx show tiny-chat").stdout
    assert "changed:       since it was loaded; the next request reloads it" in shown
    assert "context_limit = 2048" in shown
    server.request(path, {}, "PUT")
    listed = kernel.run("%mlx show qwen").stdout
    assert listed.startswith("mlx-community/Qwen3.5-4B-MLX-4bit\n")
    assert "download:      about 3.1 GB" in listed
    assert error_of(kernel, "%mlx show nonesuch")[0] == "ModelNotFound"


def test_a_model_is_converted_and_answers_at_once(kernel, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("The capital of France is Paris. " * 4)
    cell = kernel.run(f"%mlx convert tiny-chat small --bits 8 --group-size 32 --text {text}")
    said = (cell.stdout + "".join(output["text/plain"] for output in cell.outputs)).splitlines()[-1]
    assert said.startswith("small is a model now: 9.0 bits a weight, ")
    assert " in place of 6.1 MB. Perplexity of " in said
    assert "small " in kernel.run("%mlx models").outputs[0]["text/plain"]
    assert "8-bit" in kernel.run("%mlx show small").stdout
    assert kernel.run("%%chat -m small -t 0 --max-tokens 8\nHello!").outputs
    name, message = error_of(kernel, "%mlx convert tiny-chat small")
    assert name == "RequestRefused"
    assert "There is a model or an adapter 'small' already" in message


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("%mlx convert tiny-chat", "required: name"),
        ("%mlx convert tiny-chat new --bits 7", "--bits"),
        ("%mlx convert tiny-chat new --bits 4 --full", "not allowed with"),
        ("%mlx convert tiny-chat new --text /nowhere.txt", "/nowhere.txt cannot be read"),
    ],
)
def test_what_is_wrong_with_a_conversion_is_one_sentence(kernel, code, said):
    name, message = error_of(kernel, code)
    assert name == "BadMagic"
    assert message.startswith("%mlx convert: ")
    assert said in message


def test_names_and_options_are_completed(kernel):
    assert "pull" in kernel.complete("%mlx pu")
    assert "tiny-chat" in kernel.complete("%mlx unload ti")
    assert "mlx-community/Qwen3-4B-4bit" in kernel.complete("%mlx pull mlx-c")
    assert "--all" in kernel.complete("%mlx models --")
    assert "--pin" in kernel.complete("%mlx load --")
    assert "lora/mine" in kernel.complete("%mlx load tiny-chat --adapter lora/m")
