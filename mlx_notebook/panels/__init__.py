"""Panels in the notebook: models, live figures, an inspector of tool calls, a chat."""
