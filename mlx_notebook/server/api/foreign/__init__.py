"""What the APIs of other programs share: who is let in, and models in memory."""
