"""One file for each dialect of a model family."""
