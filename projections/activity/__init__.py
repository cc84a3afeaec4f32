"""Activity: the newest events of all topics, anybody's."""
