"""What all panels share: state, styles, and the connection to the server."""
