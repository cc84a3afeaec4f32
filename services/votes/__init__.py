"""Votes: a fact without invariants, published directly. Whether a vote counts is the tally's rule, not decided here."""
