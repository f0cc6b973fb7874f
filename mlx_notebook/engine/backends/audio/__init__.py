"""Models of sound: speech to text, and text to speech, with mlx-audio."""
