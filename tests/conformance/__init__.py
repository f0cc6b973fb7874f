"""Official clients and external test suites against a real server with `tiny-chat`."""
