"""Images in requests: fetched where that is allowed, checked, and handed to the engine."""
