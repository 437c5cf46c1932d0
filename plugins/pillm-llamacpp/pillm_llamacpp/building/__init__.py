"""llama.cpp's own programs, built from the pinned source for this machine or for a board."""
