"""Which quantisation ships: what is tried, how bytes are given to tensors, and the pick with its reason."""
