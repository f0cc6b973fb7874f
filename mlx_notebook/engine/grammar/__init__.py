"""Constraints on output: JSON schemas, regular expressions and grammars, by llguidance."""
