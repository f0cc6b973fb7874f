"""The functions that a request declares, and the arguments of calls."""
