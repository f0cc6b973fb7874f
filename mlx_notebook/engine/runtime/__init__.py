"""What the engine process runs on: MLX's library, BLAS, memory and file descriptors; and what it
is doing now.
"""
