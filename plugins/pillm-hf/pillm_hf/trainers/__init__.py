"""The trainers, and their work from rows to a checkpoint folder."""
