"""Tools of the training text, and those that only the evaluation has."""
