"""Speech to text with mlx-audio's Whisper, in small steps, and samples as files of sound."""
