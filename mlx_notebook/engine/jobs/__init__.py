"""What all jobs share in their process: messages to the server, and its request to stop."""
