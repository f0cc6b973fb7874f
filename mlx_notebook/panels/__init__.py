"""Panels in the notebook: models, activity, an inspector of requests and tool calls, a chat."""
