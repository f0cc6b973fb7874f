"""The training code of the embedded models; the wheel does not include it."""
