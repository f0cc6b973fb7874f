"""From a request to tokens: chat templates, tools, length limits, and the grammar of the output."""
