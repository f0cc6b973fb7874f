"""Handle the endpoints of this server's own API: models, status, traces, tokens."""
