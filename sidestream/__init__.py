"""Sidestream: event sourcing beside your service, over a Dapr sidecar. The kernel; it names no business thing."""
