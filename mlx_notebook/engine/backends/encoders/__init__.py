"""Models that read texts and generate none: embedding models and cross-encoders."""
