"""Prompts on disk: what a file is worth after anything that may happen to it."""

import itertools
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mlx_notebook.engine.kv_cache.disk.block_file import Arrays
from mlx_notebook.engine.kv_cache.disk.block_names import BLOCK, STATE
from mlx_notebook.engine.kv_cache.disk.disk_store import DiskStore


def sequence(count: int, first: int = 0) -> tuple[list[int], Arrays]:
    """Tokens, and arrays whose values tell which token they are of."""
    tokens = list(range(first, first + count))
    rows = np.array(tokens, np.float32)[None, None, :, None]
    return tokens, {"0/0": rows.repeat(4, -1), "0/1": -rows.repeat(2, -1)}


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.kv"), key=lambda f: -f.stat().st_mtime_ns)


def test_what_was_written_is_read_again_by_whole_blocks(tmp_path: Path) -> None:
    tokens, arrays = sequence(3 * BLOCK + 5)
    assert DiskStore(tmp_path / "s", 10**9).write("model", tokens, arrays) > 0
    store = DiskStore(tmp_path / "s", 10**9)
    assert store.find("model", tokens) == 3 * BLOCK
    count, back = store.read("model", tokens)
    assert count == 3 * BLOCK
    assert all(np.array_equal(back[n], arrays[n][..., :count, :]) for n in arrays)


def test_prompts_that_begin_alike_share_their_beginning(tmp_path: Path) -> None:
    store = DiskStore(tmp_path, 10**9)
    tokens, arrays = sequence(4 * BLOCK)
    store.write("model", tokens, arrays)
    other = [*tokens[: 2 * BLOCK], *range(90_000, 90_000 + 2 * BLOCK)]
    assert store.find("model", other) == 2 * BLOCK
    store.write("model", other, arrays)
    assert len(files(tmp_path)) == 6
    assert store.write("model", tokens, arrays) == 0


def test_another_model_and_other_tokens_find_nothing(tmp_path: Path) -> None:
    store = DiskStore(tmp_path, 10**9)
    tokens, arrays = sequence(2 * BLOCK)
    store.write("model", tokens, arrays)
    assert store.read("another", tokens) == (0, {})
    assert store.read("model", [token + 1 for token in tokens]) == (0, {})


def test_any_whole_numbers_may_be_tokens(tmp_path: Path) -> None:
    store = DiskStore(tmp_path, 10**9)
    _, arrays = sequence(BLOCK)
    tokens = [-1, 2**200, *range(BLOCK - 2)]
    store.write("model", tokens, arrays)
    assert store.read("model", tokens)[0] == BLOCK


# --- checkpoints -------------------------------------------------------------------------


def state(length: int) -> Arrays:
    return {f"{STATE}1/0": np.array([length])}


def test_a_checkpoint_is_read_with_the_tokens_before_it(tmp_path: Path) -> None:
    tokens, arrays = sequence(3 * BLOCK + 5)
    lengths = [2 * BLOCK, 2 * BLOCK + 7, 3 * BLOCK + 5]
    store = DiskStore(tmp_path, 10**9)
    store.write("model", tokens, arrays, checkpoints={at: state(at) for at in lengths})
    assert store.write("model", tokens, arrays, checkpoints={at: state(at) for at in lengths}) == 0
    for length in lengths:
        asked = [*tokens[:length], -1, -2]
        assert store.find_checkpoint("model", asked) == length
        count, back = store.read_checkpoint("model", asked)
        assert count == length
        assert back.pop(f"{STATE}1/0").tolist() == [length]
        assert back.keys() == arrays.keys()
        assert all(np.array_equal(back[n], arrays[n][..., :count, :]) for n in arrays)
    assert store.find_checkpoint("model", tokens[: 2 * BLOCK - 1]) == 0
    assert store.find_checkpoint("model", [*tokens[: 2 * BLOCK], -1], "salt") == 0


def test_a_sequence_without_arrays_of_tokens_has_checkpoints(tmp_path: Path) -> None:
    tokens, _ = sequence(BLOCK + 5)
    store = DiskStore(tmp_path, 10**9)
    store.write("model", tokens, {}, checkpoints={BLOCK + 3: state(3)})
    count, back = store.read_checkpoint("model", tokens)
    assert count == BLOCK + 3
    assert back.keys() == state(3).keys()


def test_a_damaged_checkpoint_or_block_is_a_miss(tmp_path: Path) -> None:
    tokens, arrays = sequence(2 * BLOCK + 5)
    for damaged in range(4):
        store = DiskStore(tmp_path / str(damaged), 10**9)
        lengths = (BLOCK + 1, 2 * BLOCK + 1)
        store.write("model", tokens, arrays, checkpoints={at: state(at) for at in lengths})
        file = files(tmp_path / str(damaged))[damaged]
        file.write_bytes(file.read_bytes()[:-1])
        count, back = store.read_checkpoint("model", tokens)
        again, _ = store.read_checkpoint("model", tokens)
        assert count in (0, 2 * BLOCK + 1)
        assert bool(back) == bool(count)
        # The second time the damaged file is gone, and what is whole is found.
        assert again in ((BLOCK + 1, 2 * BLOCK + 1) if damaged else (0,))


@pytest.mark.parametrize("kind", ["cut", "flipped", "empty", "foreign", "noise"])
def test_a_damaged_file_is_a_miss_and_is_removed(tmp_path: Path, kind: str) -> None:
    store = DiskStore(tmp_path, 10**9)
    tokens, arrays = sequence(3 * BLOCK)
    store.write("model", tokens, arrays)
    first, second, _ = files(tmp_path)
    data = second.read_bytes()
    damaged = {
        "cut": data[: len(data) // 2],
        "flipped": data[:-9] + bytes([data[-9] ^ 1]) + data[-8:],
        "empty": b"",
        "foreign": first.read_bytes(),
        "noise": b"\xff" * len(data),
    }
    second.write_bytes(damaged[kind])
    count, back = store.read("model", tokens)
    assert count == BLOCK
    assert np.array_equal(back["0/0"], arrays["0/0"][..., :BLOCK, :])
    assert not second.exists()
    store.write("model", tokens, arrays)
    assert store.read("model", tokens)[0] == 3 * BLOCK


def test_the_folder_stays_within_its_bytes_and_the_unused_go_first(tmp_path: Path) -> None:
    store = DiskStore(tmp_path, 10**9)
    size = store.write("model", *sequence(BLOCK)) + 200
    store = DiskStore(tmp_path, 8 * size)
    for first in range(1000, 5000, 1000):
        store.write("model", *sequence(2 * BLOCK, first))
        store.read("model", sequence(BLOCK)[0])  # the first one stays in use
    held = sum(file.stat().st_size for file in files(tmp_path))
    assert held <= 8 * size
    assert store.find("model", sequence(BLOCK)[0]) == BLOCK
    assert store.find("model", sequence(2 * BLOCK, 1000)[0]) < 2 * BLOCK
    assert store.find("model", sequence(2 * BLOCK, 4000)[0]) == 2 * BLOCK


def test_a_prompt_goes_from_its_end(tmp_path: Path) -> None:
    store = DiskStore(tmp_path, 10**9)
    tokens, arrays = sequence(6 * BLOCK)
    size = store.write("model", tokens, arrays)
    DiskStore(tmp_path, size - 1).write("model", *sequence(BLOCK, 10_000))
    assert BLOCK <= store.find("model", tokens) < 6 * BLOCK
    assert len(files(tmp_path)) == store.find("model", tokens) // BLOCK + 1


def test_only_its_user_may_read_it(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        DiskStore(tmp_path / "s", 10**9).write("model", *sequence(BLOCK))
    finally:
        os.umask(old)
    modes = {stat.S_IMODE(p.stat().st_mode) for p in [tmp_path / "s", tmp_path / "s" / "model"]}
    assert modes == {0o700}
    assert [stat.S_IMODE(file.stat().st_mode) for file in files(tmp_path)] == [0o600]


def test_a_folder_that_cannot_be_written_costs_nothing_but_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "s").write_text("a file, no folder")
    store = DiskStore(tmp_path / "s", 10**9)
    assert store.write("model", *sequence(BLOCK)) == 0
    assert store.write("model", *sequence(BLOCK)) == 0
    assert store.read("model", sequence(BLOCK)[0]) == (0, {})
    assert len([r for r in caplog.records if "not stored" in r.message]) == 1


def test_a_writer_killed_at_any_moment_leaves_whole_blocks(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from mlx_notebook.engine.kv_cache.disk.disk_store import DiskStore
from tests.engine.kv_cache.disk.test_disk_store import BLOCK, sequence
store = DiskStore(Path(sys.argv[1]), 10**9)
print("begins", flush=True)
while True:
    for first in range(0, 10_000, 1000):
        store.write(f"model{first}", *sequence(6 * BLOCK, first))
    for file in Path(sys.argv[1]).rglob("*.kv"):
        file.unlink()
"""
    for delay in (0.001, 0.005, 0.02, 0.04):
        writer = subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE
        )
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(delay)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        store = DiskStore(tmp_path, 10**9)
        for first in range(0, 10_000, 1000):
            tokens, arrays = sequence(6 * BLOCK, first)
            found = store.find(f"model{first}", tokens)
            count, back = store.read(f"model{first}", tokens)
            assert count == found
            assert not count or np.array_equal(back["0/1"], arrays["0/1"][..., :count, :])


def test_what_was_left_half_written_is_swept_up_later(tmp_path: Path) -> None:
    store = DiskStore(tmp_path, 10**9)
    store.write("model", *sequence(BLOCK))
    old, young = tmp_path / "model" / ".old.tmp", tmp_path / "model" / ".young.tmp"
    for draft in (old, young):
        draft.write_bytes(b"half")
    os.utime(old, (0, 0))
    DiskStore(tmp_path, 10**9).write("model", *sequence(2 * BLOCK))
    assert not old.exists()
    assert young.exists()


def test_files_of_the_first_format_are_ignored_and_removed(tmp_path: Path) -> None:
    store = DiskStore(tmp_path, 10**9)
    tokens, arrays = sequence(2 * BLOCK)
    store.write("model", tokens, arrays)
    former = files(tmp_path)[0].rename(tmp_path / "model" / "0.safetensors")
    store = DiskStore(tmp_path, 10**9)
    assert store.find("model", tokens) == 0
    store.write("model", tokens, arrays)
    assert not former.exists()
    assert store.find("model", tokens) == 2 * BLOCK


def test_writing_ends_where_it_is_not_allowed(tmp_path: Path) -> None:
    store = DiskStore(tmp_path, 10**9)
    tokens, arrays = sequence(4 * BLOCK)
    sizes: list[int] = []

    def allows(size: int) -> bool:
        sizes.append(size)
        return len(sizes) <= 2

    written = store.write("model", tokens, arrays, allows=allows)
    assert written == sum(sizes[:2]) == sum(file.stat().st_size for file in files(tmp_path))
    assert store.find("model", tokens) == 2 * BLOCK
    assert store.write("model", tokens, arrays) == sum(sizes[:2])


def test_a_model_is_known_by_its_content(tmp_path: Path) -> None:
    from mlx_notebook.engine.kv_cache.model_identity import identify

    folder = tmp_path / "model"
    folder.mkdir()
    weights, config = folder / "model.safetensors", folder / "config.json"
    weights.write_bytes(b"weights")
    config.write_text("{}")
    names = [identify([folder])]
    assert identify([folder]) == names[0]
    moved = folder.rename(tmp_path / "moved")
    assert identify([moved]) == names[0]
    names.append(identify([moved], "mlx 2"))
    (moved / "model.safetensors").write_bytes(b"WEIGHTS")
    os.utime(moved / "model.safetensors", (0, 0))
    names.append(identify([moved]))
    (moved / "config.json").write_text('{"a": 1}')
    names.append(identify([moved]))
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapters.safetensors").write_bytes(b"lora")
    names.append(identify([moved, adapter]))
    assert all(a != b for a, b in itertools.combinations(names, 2))
