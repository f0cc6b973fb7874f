"""Work on whole tables: a model's answer for each row."""
