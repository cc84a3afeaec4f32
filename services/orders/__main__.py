"""`python -m services.orders` serves the app."""

from services.orders.bootstrap import create_app
from sidestream.web.serve import serve

if __name__ == "__main__":
    serve(create_app)
