"""The tally of votes that have slots."""
