"""Data sets of the hub as tables."""
