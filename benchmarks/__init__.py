"""Benchmarks of mlx-notebook, mlx-lm's own loops, and other servers on MLX."""
