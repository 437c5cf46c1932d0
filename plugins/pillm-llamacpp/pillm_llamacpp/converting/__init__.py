"""A Hugging Face folder becomes one GGUF file in full precision, by the pinned converter in a child process."""
