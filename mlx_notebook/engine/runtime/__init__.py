"""The environment of the engine process: MLX, BLAS, memory, file descriptors, activity."""
