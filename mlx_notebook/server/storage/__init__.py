"""Files of the server's own: SQLite, locks between servers, the folder of a run."""
