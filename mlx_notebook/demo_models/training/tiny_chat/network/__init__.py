"""The network of tiny-chat in torch, its optimiser, and readings of its hidden states."""
