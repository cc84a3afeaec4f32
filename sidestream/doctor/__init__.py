"""What is set up wrongly, in plain words: `sidestream doctor`.

Everything is read once into a `Patient`; each check is a function of it that yields findings, and all of them stand in one
list, `checks.CHECKS`. A finding has a code with a section of its own in docs/doctor.md. Nothing here changes anything.
"""
