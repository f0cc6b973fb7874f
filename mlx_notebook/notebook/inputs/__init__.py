"""The notebook's objects as input for a model: text, images, and prompts with placeholders."""
