"""Models in GGUF files: their weights as MLX's arrays, and their tokenizers."""
