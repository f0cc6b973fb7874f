"""The inspector of requests and tool calls."""
