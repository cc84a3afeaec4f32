"""`python -m services.bridge` serves the app."""

from services.bridge.bootstrap import create_app
from sidestream.web.serve import serve

if __name__ == "__main__":
    serve(create_app)
