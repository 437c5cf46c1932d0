"""What trainers are told: their options, declared and checked; the trainers themselves are in `trainers`."""
