"""Measurements that anybody can repeat: the figures of docs/benchmarks.md come from here."""
