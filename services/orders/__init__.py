"""Orders: an aggregate that decides, and the doors to it."""
