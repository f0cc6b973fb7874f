"""Output constraints: JSON schemas, regular expressions, grammars and tool calls, by llguidance."""
