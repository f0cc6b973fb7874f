"""Speech in a notebook: `transcribe` and `speak`."""
