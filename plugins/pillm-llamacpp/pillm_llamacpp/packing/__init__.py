"""From a checkpoint to the files of an export: made, proved, named, and what helps to use them beside them."""
