"""Show answers, tool calls and progress in cells and terminals."""
