"""Shipping: a process manager. It follows orders, and ships each paid one by a command, exactly once in effect."""
