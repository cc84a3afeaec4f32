"""The asset catalogue: what is on disk now."""
