"""Fine-tuning from a notebook: examples, the call, and what is shown."""
