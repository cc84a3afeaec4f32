"""A tiny app for the launcher's tests: answers on its port and says what it was told."""
