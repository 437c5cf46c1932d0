"""Training with weights rounded as the file that ships will hold them."""
