"""`python -m services.shipping refused | retry`: what could not be shipped, and trying it again, through the running service.

A retry is asked for under a key made of the attempt that it begins. So a command line that was interrupted is simply run
again, and two people who run it at once retry each shipment once. Exit code 0: done. 1: the service refused, or is away.
2: asked wrongly.
"""

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final, NoReturn
from urllib.parse import quote

import httpx
import typer

from sidestream.cli.output import counting, print_table

DEFAULT_URL: Final = "http://127.0.0.1:8105"
"""Where dapr.yaml puts the service."""
_PAGE: Final = 1000
_PATIENCE_SECONDS: Final = 15.0
"""How long a retry is asked for that somebody else is at: longer than the service keeps it for whoever died over it."""
_PAUSE_SECONDS: Final = 0.2

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)

Url = Annotated[str, typer.Option(envvar="SIDESTREAM_URL_SHIPPING", help="where the service listens")]
Json = Annotated[bool, typer.Option("--json", help="print JSON, and no progress")]


@app.callback()
def shipping() -> None:
    """Ask the running shipping service for something. Without a command, `python -m services.shipping` serves it."""


@app.command()
def refused(url: Url = DEFAULT_URL, *, as_json: Json = False) -> None:
    """List the shipments that orders refused for good, and why."""
    with _Door(url) as door:
        found = list(door.refused())
    if as_json:
        print(json.dumps({"shipments": found}))
    elif found:
        print_table(("order", "retried", "refused"), [(each["order"], each["attempt"], each["refused"]) for each in found])
    else:
        print("No shipment is refused.")


@app.command()
def retry(
    orders: Annotated[list[str] | None, typer.Argument(metavar="[ORDER]...", help="orders whose shipments were refused")] = None,
    url: Url = DEFAULT_URL,
    *,
    all_refused: Annotated[bool, typer.Option("--all", help="every shipment that is refused")] = False,
    as_json: Json = False,
) -> None:
    """Try refused shipments again. Run twice, or by two people at once, it retries each of them once."""
    if bool(orders) == all_refused:
        _leave(2, "retry: expected orders, or --all for every refused shipment. `refused` lists them.")
    with _Door(url) as door:
        wanted = list(door.refused()) if all_refused else [door.show(order) for order in orders or ()]
        answers = door.retry_each(wanted, show=not as_json)
    _report(answers, as_json=as_json)


def _report(answers: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    failed = [each for each in answers if each["problem"]]
    if as_json:
        print(json.dumps({"retried": answers}))
    else:
        for each in failed:
            print(f"{each['order']}: {each['problem']}", file=sys.stderr)
        print(f"{len(answers) - len(failed)} of {len(answers)} shipments are due again.")
    if failed:
        raise typer.Exit(1)


class _Door:
    """The service's door, open for a block; what it refuses, or that it is away, ends the program with its sentence."""

    def __init__(self, url: str) -> None:
        self._url = url
        try:
            self._client = httpx.Client(base_url=url, timeout=30)
        except httpx.InvalidURL as error:
            self._leave_away(error)

    def __enter__(self) -> "_Door":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def refused(self) -> Iterator[dict[str, Any]]:
        """Go through every refused shipment, page by page."""
        path: str | None = f"/shipments?state=refused&limit={_PAGE}"
        while path:
            answer = self._checked("GET", path)
            yield from answer.json()["shipments"]
            path = answer.links.get("next", {}).get("url")

    def show(self, order: str) -> dict[str, Any]:
        """Return one shipment."""
        found: dict[str, Any] = self._checked("GET", f"/shipments/{quote(order, safe='')}").json()
        return found

    def retry_each(self, shipments: Sequence[dict[str, Any]], *, show: bool) -> list[dict[str, Any]]:
        """Retry each; one that is refused does not keep the others from it."""
        if not show:
            return [self._retry(each) for each in shipments]
        answers = []
        with counting("retrying") as counted:
            for done, each in enumerate(shipments, start=1):
                answers.append(self._retry(each))
                counted(done, len(shipments))
        return answers

    def _retry(self, shipment: dict[str, Any]) -> dict[str, Any]:
        order, attempt = shipment["order"], shipment["attempt"] + 1
        headers, end = {"idempotency-key": f"retry-{attempt}"}, time.monotonic() + _PATIENCE_SECONDS
        while _is_told_to_wait(answer := self._ask("POST", f"/shipments/{order}/retry", headers)) and time.monotonic() < end:
            time.sleep(_PAUSE_SECONDS)
        return {"order": order, "attempt": attempt, "problem": "" if answer.is_success else _detail(answer)}

    def _checked(self, method: str, path: str) -> httpx.Response:
        answer = self._ask(method, path)
        if not answer.is_success:
            _leave(2 if answer.status_code == 404 else 1, _detail(answer))
        return answer

    def _ask(self, method: str, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
        try:
            return self._client.request(method, path, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            self._leave_away(error)

    def _leave_away(self, error: Exception) -> NoReturn:
        found = str(error) or type(error).__name__
        _leave(1, f"{self._url}: expected the shipping service, found: {found}. Start it with `make run`, or name it with --url.")


def _is_told_to_wait(answer: httpx.Response) -> bool:
    """Whether somebody else is at the same retry, or the service cannot answer just now."""
    return not answer.is_success and "retry-after" in answer.headers


def _detail(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"{answer.status_code} {answer.reason_phrase}"


def _leave(code: int, message: str) -> NoReturn:
    print(message, file=sys.stderr)
    raise typer.Exit(code)


def run() -> None:
    """Carry out the command line."""
    os.environ.setdefault("COLUMNS", "120")
    app(prog_name="python -m services.shipping")
