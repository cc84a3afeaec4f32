"""A store-backed service for the fault tests: deposits, each account a stream whose order matters."""
