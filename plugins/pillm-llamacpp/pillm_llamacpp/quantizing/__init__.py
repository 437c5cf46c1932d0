"""A file in full precision becomes a smaller one, in a worker process."""
