"""A stand-in for version 2."""

__version__ = "2.0.0"
