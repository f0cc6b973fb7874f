"""A model written anew: with fewer bits, another type of floats, or from a GGUF file."""
