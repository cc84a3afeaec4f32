"""Projections: the read side, one folder each. A projection knows the events and the kernel, and no other projection."""
