"""Runs the activity: `python -m projections.activity`."""

from projections.activity.bootstrap import create_app
from sidestream.web.serve import serve

serve(create_app)
