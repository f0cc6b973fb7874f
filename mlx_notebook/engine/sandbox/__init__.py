"""Processes of their own for what strangers made: chat templates, images and grammars."""
