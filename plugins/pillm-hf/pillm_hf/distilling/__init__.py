"""Learn from a teacher's distributions: divergences, targets on disk, other tokenizers."""
