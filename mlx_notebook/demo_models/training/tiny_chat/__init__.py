"""How tiny-chat is made: its text, tokenizer, training, export and evaluation."""
