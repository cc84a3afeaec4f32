"""Applying events: the rules of one batch, and the projector that runs them. Synchronous; the rules are pure."""
