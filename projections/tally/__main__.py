"""Runs the tally: `python -m projections.tally`."""

from projections.tally.bootstrap import create_app
from sidestream.web.serve import serve

serve(create_app)
