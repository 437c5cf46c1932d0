"""How fast a file runs, measured so that it may be compared: sensors, rounds, verdict, history, gates."""
