"""A projection whose result depends on the order within an account."""
