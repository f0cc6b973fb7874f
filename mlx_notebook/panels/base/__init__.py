"""What all panels share: their state, styles, and connection to the server."""
