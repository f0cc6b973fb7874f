"""What a GGUF file says about the model in it, read without MLX and without trust."""
