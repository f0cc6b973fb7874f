"""Speech to text with mlx-audio's Whisper, in small steps; files of sound."""
