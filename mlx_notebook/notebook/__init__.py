"""What runs in the kernel: connection, magics, chat, rendering."""
