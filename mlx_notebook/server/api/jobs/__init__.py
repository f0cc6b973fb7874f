"""Handle `mlx/jobs`: create jobs, follow them, stop them."""
