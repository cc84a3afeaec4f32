"""`python -m services.shipping` serves the app; `python -m services.shipping refused | retry` asks a running one."""

import sys

from services.shipping.bootstrap import create_app
from sidestream.web.serve import serve


def main() -> None:
    """Serve, or carry out the command."""
    if len(sys.argv) == 1:
        serve(create_app)
        return
    from services.shipping.cli import run

    run()


if __name__ == "__main__":
    main()
