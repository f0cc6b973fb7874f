"""JupyterHub for a class that shares one engine: the service `mlx` and who may use it.

Copy this into your own jupyterhub_config.py. The lines with "Change" are the ones to look at.
"""

import sys

c = get_config()  # noqa: F821 - JupyterHub defines it

# --- the service ----------------------------------------------------------------------------------

# Change: a free port. Only this machine reaches it; users come through the Hub's proxy.
MLX_PORT = 10101

c.JupyterHub.services = [
    {
        "name": "mlx",
        "url": f"http://127.0.0.1:{MLX_PORT}",
        # The Hub starts the service and restarts it if it ends. mlx-notebook[jupyterhub] must be
        # installed in the environment of this Python. Settings may stand here as options, or in
        # jupyter_server_config.py of the user below.
        "command": [
            *(sys.executable, "-m", "mlx_notebook.server"),
            # The largest model that fits is shared by all. Without this the class gets tiny-chat.
            # "--model=mlx-community/Qwen3-30B-A3B-4bit",
            # Members of these groups may load, pin and unload models, as the Hub's admins may.
            "--MlxNotebookApp.admin_groups=teachers",
            # Keep the model in memory between lessons.
            "--idle-minutes=0",
        ],
        # Change: the system's user that owns the models. Without this line the service runs as the
        # user of the Hub, which is root on many machines. Models come from strangers.
        "user": "mlx",
        # The Hub passes on no other variables than PATH and its like.
        "environment": {"HF_HOME": "/srv/mlx/huggingface"},
        # Users who open the service's page are not asked whether it may know their name.
        "oauth_no_confirm": True,
    }
]

# --- who may use it -------------------------------------------------------------------------------

# Change: your class. Groups may come from your authenticator instead.
c.JupyterHub.load_groups = {
    "class": {"users": ["ann", "bob"]},
    "teachers": {"users": ["teacher"]},
}

# Users of these groups may use the service. The Hub's admins may always.
c.JupyterHub.load_roles = [
    {
        "name": "mlx-users",
        "description": "Use the models of the service mlx",
        "scopes": ["access:services!service=mlx"],
        "groups": ["class", "teachers"],
    }
]

# --- the users' notebook servers ------------------------------------------------------------------

# The first two scopes are JupyterHub's own. With the third the token of a notebook server opens the
# service too, if its user may use it.
c.Spawner.server_token_scopes = [
    "users:activity!user",
    "access:servers!server",
    "access:services!service=mlx",
]

# Notebooks find the service by this. Where notebook servers run on other machines, it is the
# address of the Hub's proxy as they see it, for example http://proxy-public/services/mlx/.
base_url = c.JupyterHub.get("base_url", "/").rstrip("/")
c.Spawner.environment = {
    "MLX_NOTEBOOK_SERVICE_URL": f"http://127.0.0.1:{MLX_PORT}{base_url}/services/mlx/",
}
