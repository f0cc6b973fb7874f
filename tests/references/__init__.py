"""Values that other libraries compute, and the script that records them."""
