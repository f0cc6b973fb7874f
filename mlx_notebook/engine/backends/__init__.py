"""The text, vision and embedding backends, on top of mlx-lm and mlx-vlm."""
