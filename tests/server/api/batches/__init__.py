"""Files and batches on a running server."""
