"""Write, run and store OpenAI's responses, and store chat completions."""
