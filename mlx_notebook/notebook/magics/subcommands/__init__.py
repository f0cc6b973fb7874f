"""The subcommands of `%mlx`, one function for each."""
