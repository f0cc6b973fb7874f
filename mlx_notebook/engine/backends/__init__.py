"""The models that answer requests, each kind over the library that runs it, and their loader."""
