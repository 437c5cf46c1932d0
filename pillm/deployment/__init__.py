"""A model put to work on another machine: brought there whole, tried beside the one that answers, then in its place."""
