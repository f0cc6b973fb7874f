"""Panels for the notebook: models, activity, an inspector of requests and tool calls, a chat."""
