"""Serves it."""

from sidestream.web.serve import serve
from tests.apps.slotted_tally.bootstrap import create_app

serve(create_app)
