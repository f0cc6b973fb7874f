"""Train tiny-chat: training text, tokenizer, model, export and evaluation."""
