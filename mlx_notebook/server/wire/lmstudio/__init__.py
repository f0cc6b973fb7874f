"""Request and response types of LM Studio's REST API, and what they mean for the engine."""
