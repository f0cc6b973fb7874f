"""What a model's folder says, and what memory this machine has. Read without MLX."""
