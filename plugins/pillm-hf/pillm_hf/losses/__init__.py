"""Batches, and what is learnt of them: the labels, or what a lesson says of a teacher."""
