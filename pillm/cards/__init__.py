"""What a model file tells of itself: one card, from which its metadata, its README and its place in a catalogue are made."""
