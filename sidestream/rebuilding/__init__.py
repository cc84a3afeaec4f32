"""Generations: built from the log, held against each other, switched and rolled back."""
