"""A file in full precision becomes a smaller one, in a worker process; an importance matrix weighs what is rounded."""
