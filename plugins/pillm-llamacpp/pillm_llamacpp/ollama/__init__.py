"""What Ollama needs beside a file: a Modelfile, its Go template proved to say what the model's own says."""
