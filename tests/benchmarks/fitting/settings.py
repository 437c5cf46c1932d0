"""What both sides train with."""

RANK, ALPHA = 16, 32
LEARNING_RATE = 2e-4
BATCH = 8
SEED = 3
THREADS = 2
CHECKED_ROWS, CHECKED_EPOCHS = 4, 3  # one batch, so both sides see the same rows in each step
