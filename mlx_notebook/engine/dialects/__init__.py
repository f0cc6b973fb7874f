"""Tool-call dialects and reasoning marks: how models write them, and how that text becomes
events.
"""
