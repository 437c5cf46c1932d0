"""The promises around the work of each backend: one module per verb."""
