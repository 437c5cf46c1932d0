"""Rows as a model reads them: messages, its chat template, token ids."""
