"""Other OpenAI-compatible servers whose models stand in the catalog next to local ones."""
