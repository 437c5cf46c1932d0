"""The door for files from outside: looked at in a limited child process before any library opens them.

A GGUF file, a safetensors file, a tokenizer.json or a model folder is read by a few hundred lines of Python that hold every
count, length and offset against limits and against what is there; its chat templates are rendered once in a sandbox with a
second and 256 MiB. What fails is refused with file, place and remedy; what passed is not looked at again while it is the same.
"""
