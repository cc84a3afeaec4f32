"""`python -m services.shipping` serves the app."""

from services.shipping.bootstrap import create_app
from sidestream.web.serve import serve

if __name__ == "__main__":
    serve(create_app)
