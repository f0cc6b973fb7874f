"""Speech to text with mlx-audio's Whisper, in small steps between those of other models."""
