"""Serves it."""

from sidestream.web.serve import serve
from tests.apps.flaky_tally.bootstrap import create_app

serve(create_app)
