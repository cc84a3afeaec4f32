"""What a language looks like from outside: its models as JSON Schema, the catalogue of a release, and what changed since.

    registry ──▶ catalogue ──▶ docs/events.md, AsyncAPI, GET /language
                     │
    events/catalogue.json (the last release) ──▶ findings: who breaks, and what to do

Pure: no file is read or written here; the verbs of `sidestream schema` do that.
"""
