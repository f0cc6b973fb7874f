"""The text, vision and embedding backends over mlx-lm and mlx-vlm."""
