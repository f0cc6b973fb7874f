"""What all jobs share in their process: messages to the server, and the wish to stop."""
