"""Models that also take images, with mlx-vlm."""
