"""Serves it."""

from sidestream.web.serve import serve
from tests.apps.bank.bootstrap import create_app

serve(create_app)
