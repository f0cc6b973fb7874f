"""Importing the package costs milliseconds, and brings nothing heavy along."""

import json
import subprocess
import sys

HEAVY = ("mlx", "mlx_lm", "transformers", "numpy", "torch", "openai", "huggingface_hub")


def run(*arguments, env=None):
    return subprocess.run(
        [sys.executable, *arguments], check=True, capture_output=True, text=True, env=env
    )


def test_importing_the_package_imports_few_modules(env):
    # Beyond what every kernel has loaded anyway. Each costs it some tenths of a millisecond.
    def loaded(module):
        code = (
            "import IPython.core.magic, asyncio, email.parser, http.client, concurrent.futures\n"
            f"import sys; before = set(sys.modules); import {module}\n"
            "print(*set(sys.modules) - before)"
        )
        return run("-c", code, env=env).stdout.split()

    assert loaded("mlx_notebook") == ["mlx_notebook"]
    magics = loaded("mlx_notebook.notebook.magics.magics")
    assert "mlx_notebook.notebook.magics.magics" in magics
    assert len(magics) < 150, magics


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
