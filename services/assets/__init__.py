"""Files of real directories as assets: scans find, follow and miss them, people tag them.

`walking` and `hashing` look at the disk, `comparing` decides what has happened, `scanning` runs it; `inventory` is what the
events say so far; `tagging` is the aggregate of one asset.
"""
