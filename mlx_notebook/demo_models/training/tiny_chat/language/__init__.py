"""The words of the training text and of the evaluation, and phrases made of them."""
