"""Students smaller than their base: fewer layers, a trimmed vocabulary, new weights."""
