"""The write side: each folder is one service, and knows none of its siblings."""
