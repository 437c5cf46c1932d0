"""The process that holds llama.cpp, and pillm's side of the pipe: llama.cpp may abort, pillm may not."""
