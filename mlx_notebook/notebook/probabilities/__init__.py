"""Look inside an answer: the probability of each token, and what of the prompt it rests on."""
