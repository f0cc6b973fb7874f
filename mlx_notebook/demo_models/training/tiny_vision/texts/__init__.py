"""Questions and dialogues about images."""
