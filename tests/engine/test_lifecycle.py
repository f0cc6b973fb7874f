"""How an engine process begins, cancels, forgets and ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from mlx_notebook import protocol
from tests.engine.process import EngineProcess, running
from tests.tiny_models.models import qwen3


def long_request(engine: EngineProcess, model: Path, text: str = "go on") -> str:
    return engine.start("random", model, text, max_tokens=1500, temperature=0.0, ignore_eos=True)


def test_a_cancelled_request_leaves_the_batch_at_once_and_its_prefix_is_kept(
    engine: EngineProcess, model: Path
) -> None:
    prompt = "cancel this one please " * 10
    request = long_request(engine, model, prompt)
    engine.wait(lambda e: isinstance(e, protocol.Text) and e.id == request)
    engine.send(protocol.Cancel(request))
    stats = engine.wait(lambda e: isinstance(e, protocol.Stats) and not e.requests)
    assert isinstance(stats, protocol.Stats)
    again = engine.start("random", model, prompt, max_tokens=3)
    (end,) = engine.finish(again)
    assert isinstance(end, protocol.Done)
    assert end.usage.cached >= end.usage.prompt - 2


def test_cancelling_at_any_moment_leaves_the_engine_idle(
    engine: EngineProcess, model: Path
) -> None:
    for delay in [0, 0.001, 0.003, 0.01, 0.03, 0.1] * 3:
        request = long_request(engine, model, f"moment {delay} " * 60)
        time.sleep(delay)
        engine.send(protocol.Cancel(request))
    end = time.monotonic() + 10
    while (stats := engine.stats()).requests or stats.resident[0].active:
        assert time.monotonic() < end, stats


def test_more_requests_than_rows_wait_and_are_all_served(model: Path) -> None:
    with running(max_batch=4) as engine:
        ids = [engine.start("random", model, f"row {i}", max_tokens=12) for i in range(13)]
        assert all(isinstance(end, protocol.Done) for end in engine.finish(*ids))


def test_the_statistics_tell_of_a_running_request(engine: EngineProcess, tmp_path: Path) -> None:
    path = qwen3(tmp_path / "patient", context=32_768)
    request = engine.start("patient", path, "go on", max_tokens=30_000, ignore_eos=True)
    stats = engine.wait(
        lambda e: (
            isinstance(e, protocol.Stats)
            and any(
                r.id == request and r.phase == "decode" and r.generated_tokens for r in e.requests
            )
        )
    )
    assert isinstance(stats, protocol.Stats)
    live = next(r for r in stats.requests if r.id == request)
    assert live.model == "patient"
    assert live.prompt_tokens > 0
    assert stats.memory.process > 10_000_000
    engine.send(protocol.Cancel(request))


def test_a_model_that_cannot_be_loaded_says_why_and_others_go_on(
    engine: EngineProcess, model: Path, tmp_path: Path
) -> None:
    broken = qwen3(tmp_path / "broken")
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    nowhere = engine.start("nowhere", tmp_path / "missing", "hi")
    truncated = engine.start("broken", broken, "hi")
    fine = engine.start("random", model, "hi", max_tokens=3)
    ends = engine.finish(nowhere, truncated, fine)
    assert [type(end) for end in ends] == [protocol.Failed, protocol.Failed, protocol.Done]
    assert all(end.code == "model_load_failed" for end in ends if isinstance(end, protocol.Failed))


def test_two_models_run_side_by_side_and_the_oldest_idle_one_gives_way(
    model: Path, tmp_path: Path
) -> None:
    others = {name: qwen3(tmp_path / name, seed=i) for i, name in enumerate("abc")}
    with running(max_resident=2) as engine:
        a = engine.start("a", others["a"], "hello", max_tokens=300, ignore_eos=True)
        b = engine.start("b", others["b"], "hello", max_tokens=5, ignore_eos=True)
        engine.finish(b)
        c = engine.start("c", others["c"], "hello", max_tokens=5, ignore_eos=True)
        assert all(isinstance(end, protocol.Done) for end in engine.finish(a, c))
        names = {r.model for r in engine.stats().resident}
        assert names == {"a", "c"}


def test_load_and_unload_answer_and_give_memory_back(model: Path) -> None:
    with running() as engine:
        engine.send(protocol.Load(id="l", model="random", path=str(model)))
        loaded = engine.wait(lambda e: isinstance(e, protocol.Loaded))
        assert isinstance(loaded, protocol.Loaded)
        assert loaded.resident.context_length == 2048
        engine.send(protocol.Unload(id="u", model="random"))
        unloaded = engine.wait(lambda e: isinstance(e, protocol.Unloaded))
        assert isinstance(unloaded, protocol.Unloaded)
        assert unloaded.freed >= loaded.resident.bytes
        assert not engine.stats().resident


def test_an_idle_model_is_unloaded(model: Path) -> None:
    with running(idle_unload_minutes=0.02) as engine:
        request = engine.start("random", model, "hi", max_tokens=3)
        engine.finish(request)
        engine.wait(lambda e: isinstance(e, protocol.Stats) and not e.resident, timeout=10)
        again = engine.start("random", model, "hi", max_tokens=3)
        assert isinstance(engine.finish(again)[0], protocol.Done)


def test_shutdown_ends_the_process(model: Path) -> None:
    engine = EngineProcess()
    engine.wait(lambda e: isinstance(e, protocol.Ready))
    assert engine.stop() == 0


def test_an_engine_whose_imports_fail_ends_though_a_command_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mlx_lm.py").write_text("raise ImportError('not today')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with running() as engine:
        engine.start("random", tmp_path, "hi")
        assert engine.process.wait(60) == 1
        assert "not today" in engine.log.read_text()


def test_a_command_that_is_none_ends_the_process_and_leaves_nobody_waiting(model: Path) -> None:
    with running() as engine:
        engine.wait(lambda e: isinstance(e, protocol.Ready))
        engine.commands.send(b"\xc1 this is no command")
        assert engine.process.wait(30) == 1
        assert "Traceback" in engine.log.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM])
def test_it_leaves_with_its_parent_however_that_dies(sign: signal.Signals) -> None:
    script = (
        "import time; from tests.engine.process import EngineProcess; from mlx_notebook import "
        "protocol as m; e = EngineProcess(); e.wait(lambda x: isinstance(x, m.Ready)); "
        "print(e.process.pid, e.folder, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid, folder = parent.stdout.readline().split()
    parent.stdout.close()
    engine = psutil.Process(int(pid))
    os.kill(parent.pid, sign)
    parent.wait(5)
    engine.wait(5)
    assert not Path(folder).exists()
    Path(folder + ".log").unlink(missing_ok=True)


def test_what_a_sandbox_is_at_ends_with_the_engine(tmp_path: Path) -> None:
    numbers = "range(99999)"
    loop = f"{{% for i in {numbers} %}}{{% for j in {numbers} %}}{{% endfor %}}{{% endfor %}}"
    template = "{% if messages[0].content == 'loop' %}" + loop + "{% endif %}ok"
    path = qwen3(tmp_path / "model", template=template)
    prompt = protocol.ChatPrompt(messages=[{"role": "user", "content": "loop"}])
    with running() as engine:
        engine.wait(lambda e: isinstance(e, protocol.Ready))
        engine.send(protocol.Tokenize(id="t", model="model", path=str(path), prompt=prompt))
        sandbox: list[psutil.Process] = []
        deadline = time.monotonic() + 60
        while not sandbox and time.monotonic() < deadline:
            children = psutil.Process(engine.process.pid).children()
            sandbox = [child for child in children if child.cpu_times().user > 1.0]
            time.sleep(0.05)
        (busy,) = sandbox
        assert engine.process.stdin is not None
        engine.process.stdin.close()  # as when the server is gone
        engine.process.wait(10)
        busy.wait(10)


def test_a_pinned_model_stays_when_it_is_idle_until_it_is_let_go(model: Path) -> None:
    with running(idle_unload_minutes=0.01) as engine:
        engine.send(protocol.Load(id="l", model="random", path=str(model), pin=True))
        engine.wait(lambda e: isinstance(e, protocol.Loaded) and e.resident.pinned)
        for _ in range(3):
            assert [r.pinned for r in engine.stats().resident] == [True]
        engine.send(protocol.Pin(id="p", model="random", pinned=False))
        engine.wait(lambda e: isinstance(e, protocol.Pinned) and not e.pinned)
        engine.wait(lambda e: isinstance(e, protocol.Stats) and not e.resident, timeout=10)
        engine.send(protocol.Pin(id="none", model="random", pinned=True))
        (end,) = engine.finish("none")
        assert isinstance(end, protocol.Failed)
        assert end.code == "invalid_request"


@pytest.mark.slow
@pytest.mark.parametrize(("soft", "hard"), [(256, 1024), (1024, 3000)])
def test_it_runs_with_the_descriptors_that_it_is_allowed(model: Path, soft: int, hard: int) -> None:
    script = f"""
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
from pathlib import Path
from mlx_notebook import protocol as m
from tests.engine.process import running
with running() as engine:
    [end] = engine.finish(engine.start("random", Path({str(model)!r}), "hi", max_tokens=3))
    limits = getattr(resource, "prlimit", lambda *_: ({hard}, {hard}))  # not on macOS
    print(type(end).__name__, *limits(engine.process.pid, resource.RLIMIT_NOFILE))
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=90)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == ["Done", str(hard), str(hard)]
