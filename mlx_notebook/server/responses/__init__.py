"""OpenAI's responses and stored chat completions: how they are made, run and kept."""
