"""`python -m services.assets` serves the app; `python -m services.assets scan DIR` asks a running one to scan."""

import sys

from services.assets.bootstrap import create_app
from sidestream.web.serve import serve


def main() -> None:
    """Serve, or carry out the command."""
    if len(sys.argv) == 1:
        serve(create_app)
        return
    from services.assets.cli import run

    run()


if __name__ == "__main__":
    main()
