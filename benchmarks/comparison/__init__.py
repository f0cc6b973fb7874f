"""Our server, other servers and the loops of mlx-lm in one run."""
