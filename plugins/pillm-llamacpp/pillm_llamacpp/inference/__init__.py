"""Answers, embeddings and timings from a model file."""
