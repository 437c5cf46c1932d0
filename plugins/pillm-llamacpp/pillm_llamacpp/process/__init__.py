"""What the process does that holds llama.cpp: it serves an open model and does single jobs; it may abort, pillm may not."""
