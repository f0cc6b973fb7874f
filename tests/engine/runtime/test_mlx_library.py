import runpy
import tomllib
from pathlib import Path

import pytest

from mlx_notebook.engine.runtime import mlx_library
from mlx_notebook.engine.runtime.mlx_library import Library, installed, problem
from tests.engine.process import EngineProcess

ROOT = Path(__file__).parents[3]


def install(folder: Path, name: str, library: bytes) -> None:
    """Install a wheel that brings a library, as pip does: over the file that is there."""
    info = folder / f"{name.replace('-', '_')}-0.32.4.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.32.4\n")
    (info / "RECORD").write_text(f"mlx/lib/libmlx.so,,{len(library)}\n")
    file = folder / "mlx" / "lib" / "libmlx.so"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(library)


@pytest.fixture(autouse=True)
def linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlx_library.sys, "platform", "linux")


@pytest.fixture(params=[False, True], ids=["no driver", "driver"])
def driver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(mlx_library, "_has_driver", lambda: request.param)
    return bool(request.param)


def test_this_environment_has_one_library() -> None:
    assert problem(installed()) is None


def test_without_any_library_the_message_says_how_to_get_one(tmp_path: Path) -> None:
    library = installed([str(tmp_path)])
    assert library == Library([], None)
    message, fatal = problem(library) or ("", False)
    assert fatal
    assert "pip install mlx-notebook" in message


def test_the_cpu_library_alone_is_fine(tmp_path: Path, driver: bool) -> None:
    install(tmp_path, "mlx-cpu", b"cpu")
    library = installed([str(tmp_path)])
    assert not library.uses_cuda
    assert problem(library) is None


def test_the_cuda_library_needs_a_driver(tmp_path: Path, driver: bool) -> None:
    install(tmp_path, "mlx-cuda-13", b"cuda")
    library = installed([str(tmp_path)])
    assert library.uses_cuda
    found = problem(library)
    if driver:
        assert found is None
    else:
        assert found is not None
        assert "libcuda.so.1" in found[0]
        assert "pip install 'mlx[cpu]'" in found[0]
        assert found[1]


@pytest.mark.parametrize("last", ["mlx-cpu", "mlx-cuda-13"])
def test_of_two_libraries_the_one_that_was_installed_last_is_in_place(
    tmp_path: Path, last: str, driver: bool
) -> None:
    for name in sorted(["mlx-cpu", "mlx-cuda-13"], key=lambda name: name == last):
        install(tmp_path, name, name.encode())
    library = installed([str(tmp_path)])
    assert library.name == last
    message, fatal = problem(library) or ("", False)
    assert "mlx-cpu" in message
    assert "mlx-cuda-13" in message
    assert fatal is (last == "mlx-cuda-13" and not driver)


def test_an_engine_in_an_environment_that_lacks_a_library_says_so_and_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "from mlx_notebook.engine.runtime import mlx_library\n"
        "mlx_library.distributions = lambda path: iter(())\n"
    )
    (tmp_path / "sitecustomize.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    engine = EngineProcess()
    assert engine.process.wait(60) == 1
    assert "pip install mlx-notebook-cuda" in engine.log.read_text()


def test_the_cuda_distribution_differs_in_its_name_and_one_dependency() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    project = runpy.run_path(str(ROOT / ".ci" / "cuda_wheel.py"))["project"]
    plain, cuda = (tomllib.loads(t)["project"] for t in (text, project(text)))
    assert cuda["name"] == "mlx-notebook-cuda"
    changed = set(plain["dependencies"]) ^ set(cuda["dependencies"])
    assert {line.split(">")[0] for line in changed} == {"mlx[cpu]", "mlx[cuda13]"}
    same = plain.keys() - {"name", "dependencies"}
    assert {key: plain[key] for key in same} == {key: cuda[key] for key in same}
