"""The tally, with a rule that raises at random."""
