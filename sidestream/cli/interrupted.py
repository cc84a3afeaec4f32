"""What Ctrl-C leaves of a generation that was being built, in one line; the exit code is 130, as a shell expects it.

Looked up in the catalogue of generations, not remembered: whatever the moment, it is what the next verb will find.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import typer

if TYPE_CHECKING:
    from sidestream.rebuilding.building import Site

_EXIT_CODE: Final = 130


@contextmanager
def saying_what_is_left(found: "Site", *, as_json: bool) -> Iterator[None]:
    """Say on Ctrl-C what the block has left of what it was building."""
    try:
        yield
    except KeyboardInterrupt:
        _say(_what_is_left(found), as_json=as_json)
        raise typer.Exit(_EXIT_CODE) from None


def _what_is_left(found: "Site") -> str:
    from sidestream.errors import ReadModelError

    name = found.projection.name
    try:
        generations = found.read_models.generations()
    except ReadModelError as error:
        return f"{name}: interrupted. What is left cannot be looked up: {error} `sidestream projections list {name}` shows it."
    live = next((f"{each.name} is live" for each in generations if each.live), "none is live")
    unfinished = [each.name for each in generations if each.state == "building"]
    if not unfinished:
        return f"{name}: interrupted. No generation is left unfinished, {live}."
    left = ", ".join(unfinished)
    return (
        f"{name}: interrupted. {left} is unfinished and no query reads it, {live}. Go on: sidestream projections rebuild {name}; "
        f"or end it: sidestream projections drop {name} {unfinished[-1]}"
    )


def _say(text: str, *, as_json: bool) -> None:
    import msgspec

    error = {"error": {"code": "interrupted", "message": text}}
    typer.echo(msgspec.json.encode(error).decode() if as_json else text, err=True)
