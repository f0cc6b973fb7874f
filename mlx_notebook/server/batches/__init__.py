"""Keep files, and answer batches of requests while the engine has nothing else to do."""
