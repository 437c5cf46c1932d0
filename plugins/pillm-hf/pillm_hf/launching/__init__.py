"""Train in several processes: the command that starts them, what they are told, and what is made of what they say."""
