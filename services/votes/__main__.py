"""`python -m services.votes` serves the app."""

from services.votes.bootstrap import create_app
from sidestream.web.serve import serve

if __name__ == "__main__":
    serve(create_app)
