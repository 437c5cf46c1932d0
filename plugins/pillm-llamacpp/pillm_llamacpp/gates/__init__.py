"""What must be true of a checkpoint and of its file before the file gets its name."""
