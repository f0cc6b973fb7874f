"""What all handlers need of HTTP: heads, bodies, streams of events, errors, clients that leave."""
