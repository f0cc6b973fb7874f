"""The dialogues of the training text, by skill."""
