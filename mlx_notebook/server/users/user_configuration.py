"""Define the settings about users: what each of them may do, and what they share."""

from typing import Any

from traitlets import Dict, HasTraits, List, TraitError, Unicode, validate

from mlx_notebook.server.users.shared_prefixes import SharedPrefixes
from mlx_notebook.server.users.user_limits import UserLimits


class UserConfiguration(HasTraits):
    """Hold the traits about users."""

    user_limits = Dict(
        value_trait=Dict(),
        key_trait=Unicode(),
        help="""Limits of users, where Jupyter knows them apart (for example with JupyterHub), for
        example {"*": {"requests_in_flight": 4, "tokens_per_minute": 20000}, "group:staff":
        {"requests_in_flight": None, "unload": True}, "ada": {"download": ["mlx-community/*"]}}.
        "*" is for everyone, and the name of a group or a user overrides it; of several groups the
        most generous one counts. requests_in_flight: most requests at a time. tokens_per_minute:
        most tokens of prompts and answers. use, load, swap (load in place of another model), pin,
        unload, download, jobs (fine-tuning and the like): True, False or the names of models, also
        with *. mcp: True, False or the names of MCP servers (see mcp_servers) and hosts (see
        mcp_hosts). If nothing else is said, users may use, load and swap all models, and not pin,
        unload or download any, start jobs, or use MCP servers. An admin (see admin_groups) has no
        limits, except those under that admin's own name.""",
    ).tag(config=True)

    @validate("user_limits")
    def _check_user_limits(self, proposal: Any) -> Any:
        try:
            UserLimits(proposal["value"])
        except ValueError as error:
            raise TraitError(f"MlxNotebookApp.user_limits: {error}.") from None
        return proposal["value"]

    shared_prefixes = List(
        Dict(),
        help="""What users may share of the prefix cache, which is each user's own otherwise, for
        example [{"system": "You are the tutor of our class."}, {"group": "staff"}]. "system": a
        system prompt, or its beginning; it is computed once for all. "group": the members of a
        group share all prefixes. Both: the members of the group share the system prompt. What is
        shared can be noticed: the time and the cached_tokens of a request tell that somebody has
        sent it before. If several groups of a user share all, the first one counts.""",
    ).tag(config=True)

    @validate("shared_prefixes")
    def _check_shared_prefixes(self, proposal: Any) -> Any:
        try:
            SharedPrefixes(proposal["value"])
        except ValueError as error:
            raise TraitError(f"MlxNotebookApp.shared_prefixes{error}.") from None
        return proposal["value"]
