"""What runs in the notebook kernel: magics, chats, tools and the connection to the server."""
