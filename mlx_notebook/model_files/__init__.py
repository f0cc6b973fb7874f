"""What the files of a model's folder say, read without MLX; shared by server and engine."""
