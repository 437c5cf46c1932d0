"""A model folder, with or without an adapter on it, becomes GGUF files in one pass over its weights."""
