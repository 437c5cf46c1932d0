"""Train a student: batches, loop, loss, checkpoints, and what is written at the end."""
