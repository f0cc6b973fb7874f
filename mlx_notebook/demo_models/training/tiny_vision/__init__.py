"""Train tiny-vision: images, questions, model, export and evaluation."""
