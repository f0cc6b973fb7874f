"""The command line of `jupyter mlx-notebook`: its help, and short names of settings."""

DESCRIPTION = (
    "Serve local models on MLX with OpenAI's API, on this machine only.\n\n"
    "Any OpenAI client can use it. The base URL is http://localhost:1234/v1. The API key is\n"
    "the token, which is printed at the start unless you set one.\n\n"
    "Settings are read from jupyter_server_config.py or .json in Jupyter's configuration\n"
    "folder (`jupyter --config-dir`): those of c.MlxNotebookApp and c.IdentityProvider. The\n"
    "command line overrides them. --config FILE reads that file instead."
)
EXAMPLES = "\n".join(
    (
        "jupyter mlx-notebook                              # port 1234, a new token",
        "jupyter mlx-notebook --port 8001 --token secret   # your own port and token",
        "jupyter mlx-notebook --models-dir ~/models --model my-org/my-model",
    )
)

ALIASES = {
    "model": "MlxNotebookApp.default_model",
    "models-dir": "MlxNotebookApp.models_dirs",
    "ranks": "MlxNotebookApp.ranks",
    "hostfile": "MlxNotebookApp.hostfile",
    "idle-minutes": "MlxNotebookApp.idle_unload_minutes",
    "port": "StandaloneServer.port",
    "ip": "StandaloneServer.ip",
    "token": "IdentityProvider.token",
    "base-url": "StandaloneServer.base_url",
    "allow-origin": "StandaloneServer.allow_origin",
    "config": "JupyterApp.config_file",
    "log-level": "Application.log_level",
}
FLAGS = {
    "debug": ({"Application": {"log_level": 10}}, "Log everything, to find a problem."),
    "allow-root": ({"ServerApp": {"allow_root": True}}, "Allow running as root."),
}
