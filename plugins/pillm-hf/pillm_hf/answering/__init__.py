"""Answer prompts: batches, slots, sampling, constraints."""
