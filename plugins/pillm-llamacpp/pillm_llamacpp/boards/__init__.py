"""Model files on a board that is reached over ssh."""
