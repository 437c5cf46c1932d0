"""Models: where they come from, in which numbers they are loaded, and what fits into memory."""
