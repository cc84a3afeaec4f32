"""The tally: votes per poll and option."""
