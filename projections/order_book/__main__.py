"""Runs the order book: `python -m projections.order_book`."""

from projections.order_book.bootstrap import create_app
from sidestream.web.serve import serve

serve(create_app)
