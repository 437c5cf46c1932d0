"""pillm's side of the pipe to the process that holds llama.cpp."""
