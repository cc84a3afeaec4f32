"""Adapters of the ports: each knows one technology, and none knows another adapter."""
