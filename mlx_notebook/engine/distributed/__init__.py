"""Several ranks that compute together: messages between them, and the watch over them."""
