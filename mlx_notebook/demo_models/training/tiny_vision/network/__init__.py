"""The network of tiny-vision in torch, its optimiser, and what is read of its hidden states."""
