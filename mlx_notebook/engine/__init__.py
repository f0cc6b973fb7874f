"""The MLX process: loads models, batches requests, streams events back. Run by the server."""
