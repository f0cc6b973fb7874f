"""Fill a gap in a text: the prompt for it, and where the text of the gap ends."""
