"""The engine process as the server sees it: started, watched, restarted, and asked."""
