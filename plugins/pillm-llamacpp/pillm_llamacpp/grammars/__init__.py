"""JSON Schemas as grammars that llama.cpp samples under."""
