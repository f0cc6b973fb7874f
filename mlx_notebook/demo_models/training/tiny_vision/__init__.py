"""How tiny-vision was trained: pictures, questions, the model, export and evaluation."""
