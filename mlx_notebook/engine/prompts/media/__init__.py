"""Images, sounds and videos in prompts: the tokens that stand for them."""
