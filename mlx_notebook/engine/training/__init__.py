"""Training of adapters with mlx-lm, and merging them into models."""
