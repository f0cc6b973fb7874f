"""The prefix cache on disk: blocks of tokens in files, and what is worth writing."""
