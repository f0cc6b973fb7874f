"""Measurements of mlx-notebook against raw mlx-lm and the other servers over MLX."""
