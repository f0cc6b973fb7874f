"""Speech and transcriptions on a running server."""
