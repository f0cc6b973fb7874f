"""Draw the images of the training and of the evaluation."""
