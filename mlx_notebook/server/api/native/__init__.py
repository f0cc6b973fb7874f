"""The endpoints of this server: models, status, traces, tokens."""
