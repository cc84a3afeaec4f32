"""The root of `sidestream`: the list of verbs, and the one place where an error becomes a sentence and an exit code.

Exit codes: 0 done, 1 a problem was found, 2 used wrongly or could not start. With --json an error is
`{"error": {"code": ..., "message": ...}}` on standard error.
"""

import importlib
import json
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from sidestream.errors import ConfigurationError, LogUnavailable, SidestreamError, UnknownGeneration

# A verb, and the module whose `app` it is. One line each.
VERBS = {
    "up": "sidestream.cli.up",
    "broker": "sidestream.cli.broker",
    "reset": "sidestream.cli.reset",
    "publish": "sidestream.cli.publish",
    "projections": "sidestream.cli.projections",
    "dead-letters": "sidestream.cli.dead_letters",
    "schema": "sidestream.cli.schema",
    "log": "sidestream.cli.log",
    "events": "sidestream.cli.events",
    "doctor": "sidestream.cli.doctor",
    "tokens": "sidestream.cli.tokens",
}


_START = "`sidestream up` starts everything, `sidestream broker start` the embedded broker alone"
"""A log knows its address, and not who starts what is there."""


class Verbs(TyperGroup):
    """Imports a verb's module when it is asked for, not before."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the verbs in the order of the list."""
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a verb, or None for a word that is none."""
        if cmd_name not in VERBS:
            return None
        command = typer.main.get_command(importlib.import_module(VERBS[cmd_name]).app)
        command.name = cmd_name
        return command


root = typer.Typer(cls=Verbs, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@root.callback()
def sidestream() -> None:
    """Event sourcing beside your service."""


def main() -> None:
    """Run the program on the command line's words and end with its exit code."""
    try:
        root()
    except SidestreamError as problem:
        _say(problem)
        sys.exit(2 if isinstance(problem, ConfigurationError | UnknownGeneration) else 1)


def _say(problem: SidestreamError) -> None:
    message = str(problem)
    if type(problem) is LogUnavailable:  # not one of its kinds: those answer, and cannot do what was asked
        message += f" Start the broker if it does not run ({_START}), and try again."
    if "--json" in sys.argv:
        sys.stderr.write(json.dumps({"error": {"code": problem.code, "message": message}}) + "\n")
        return
    from rich.console import Console

    Console(stderr=True).print(message, style="bold red", markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
