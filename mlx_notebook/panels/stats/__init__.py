"""The panel of the server's activity."""
