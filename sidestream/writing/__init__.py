"""The write side: appends and their rules, the repository of aggregates, a store beside its log."""
