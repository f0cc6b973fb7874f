"""What users do: agents, a classroom, images, tables, completions in cells, upstreams."""
