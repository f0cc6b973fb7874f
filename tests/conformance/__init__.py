"""Official clients and suites that are not ours, against a real server with `tiny-chat`."""
