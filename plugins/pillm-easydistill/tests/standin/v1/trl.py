# Training with version 1 needs this package; the stand-in only needs it to be there.
