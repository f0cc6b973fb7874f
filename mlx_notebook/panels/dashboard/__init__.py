"""The dashboard: all panels behind tabs."""
