"""Train a student: loop, processes, checkpoints, and what is written at the end."""
