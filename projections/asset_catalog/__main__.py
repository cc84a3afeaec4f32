"""Runs the asset catalogue: `python -m projections.asset_catalog`."""

from projections.asset_catalog.bootstrap import create_app
from sidestream.web.serve import serve

serve(create_app)
