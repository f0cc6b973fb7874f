"""A model over several ranks: the same calls on each, the messages between them, and the watch."""
