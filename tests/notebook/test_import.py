"""Importing the package costs milliseconds, and brings nothing heavy along."""

import json
import subprocess
import sys

HEAVY = ("mlx", "mlx_lm", "transformers", "numpy", "torch", "openai", "huggingface_hub")


def run(*arguments, env=None):
    return subprocess.run(
        [sys.executable, *arguments], check=True, capture_output=True, text=True, env=env
    )


def test_importing_the_package_takes_milliseconds(env):
    # Beyond what every kernel and every Jupyter server has loaded anyway.
    def seconds(module):
        code = (
            "import IPython.core.magic, time; began = time.perf_counter(); "
            f"import {module}; print(time.perf_counter() - began)"
        )
        return min(float(run("-c", code, env=env).stdout) for _ in range(3))

    assert seconds("mlx_notebook") < 0.01
    assert seconds("mlx_notebook.notebook.magics.magics") < 0.3


def test_the_kernel_side_imports_nothing_heavy(env):
    code = (
        "import sys, json\n"
        "import mlx_notebook.notebook.connection.connection, mlx_notebook.notebook.chat.chat\n"
        "import mlx_notebook.notebook.magics.subcommands.commands\n"
        f"print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    )
    assert json.loads(run("-c", code, env=env).stdout) == []


def test_every_public_name_is_there(env):
    code = "import mlx_notebook as m; print([getattr(m, name) for name in m.__all__])"
    run("-c", code, env=env)
