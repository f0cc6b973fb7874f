"""How models score documents by a query: pairs of texts, and the questions that are asked."""
