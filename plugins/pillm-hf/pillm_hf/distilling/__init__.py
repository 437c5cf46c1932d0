"""Learn from a teacher's distributions: teachers in memory, targets on disk, other tokenizers."""
