"""`sidestream broker check`: asks a broker what it does to events, and says what that means here.

Everything it publishes goes to topics of its own, which it removes; the system's are never touched. With --write it asks
nothing and makes the page of several runs.
"""

import asyncio
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from sidestream.adapters.broker_kinds import InForce
    from sidestream.cli.broker_stage import Wanted
    from sidestream.conformance.results import Run

_MARKS = {"good": "✓", "note": "·", "bad": "✗"}


def check(
    what: Annotated[
        list[str] | None,
        typer.Argument(help="a folder below components/brokers; nothing: the components in force. With --write: files of runs"),
    ] = None,
    address: Annotated[str, typer.Option("--address", help="where the broker is; for Redis nothing: the embedded one is started")] = "",
    pid: Annotated[int, typer.Option("--pid", help="the broker's process on this machine: it is stopped for six seconds (full run)")] = 0,
    server: Annotated[str, typer.Option("--server", help="what the server is, noted in the result: `Kafka 4.3.1`")] = "",
    quick: Annotated[bool, typer.Option("--quick", help="half a minute: order, attributes, duplicates, rates; nothing is killed")] = False,
    write: Annotated[Path | None, typer.Option("--write", help="write this page from the files of runs, and ask nothing")] = None,
    file: Annotated[Path, typer.Option("--file", "-f", help="the run file")] = Path("dapr.yaml"),
    as_json: Annotated[bool, typer.Option("--json", help="print the run as one JSON object; everything else goes to stderr")] = False,
) -> None:
    """Measure what a broker does to events: order, repetition, loss, history, rates. Exit code 1: not fit for event sourcing."""
    if write is not None:
        _write_page(write, [Path(name) for name in what or []])
        return
    found = asyncio.run(_checked(_wanted(what or [], address, pid, file, quick=quick), server))
    if found is None:
        raise typer.Exit(1)
    _print(found, as_json=as_json)
    raise typer.Exit(int(found.is_bad))


def _write_page(page: Path, files: list[Path]) -> None:
    from sidestream.conformance.page import page_of
    from sidestream.conformance.results import read_run
    from sidestream.errors import ConfigurationError

    if not files:
        raise ConfigurationError("--write: expected files of runs, found none. Name them: `sidestream broker check --write PAGE FILE…`.")
    page.write_text(page_of([read_run(file) for file in files]), encoding="utf-8")
    typer.echo(f"Written: {page}.")


def _wanted(names: list[str], address: str, pid: int, file: Path, *, quick: bool) -> "Wanted":
    from sidestream.adapters.broker_kinds import REDIS
    from sidestream.cli import swapping
    from sidestream.cli.broker_stage import Wanted
    from sidestream.errors import ConfigurationError
    from sidestream.launcher.folder import DEFAULT, SystemFolder
    from sidestream.launcher.other_broker import OtherBroker
    from sidestream.launcher.runfile import read
    from sidestream.launcher.settings import LauncherSettings

    if len(names) > 1:
        raise ConfigurationError(f"expected one broker, found {', '.join(names)}. Check them one after another.")
    _look_at(pid)
    place = SystemFolder(file.resolve().parent / DEFAULT)
    found = _named(file, names[0]) if names else swapping.broker_in_force(file)
    if not names:
        address = address or LauncherSettings().broker
    configuration = read(file).apps[0].config
    if configuration is None:
        raise ConfigurationError(f"{file}: expected a configFilePath, found none. Name the sidecar's configuration there.")
    if found.component.type != REDIS:  # the embedded one has no address before it starts
        OtherBroker.of(found, place, address)
    return Wanted(found, file.resolve().parent, configuration, place.secrets, address, pid, quick)


def _named(file: Path, name: str) -> "InForce":
    from sidestream.adapters.broker_kinds import in_force
    from sidestream.cli import swapping
    from sidestream.errors import ConfigurationError
    from sidestream.launcher.settings import LauncherSettings

    folder = swapping.folder_in_force(file)
    names = [each.name for each in swapping.offered(folder)]
    if name not in names:
        raise ConfigurationError(
            f"{folder / swapping.BROKERS}: expected one of {', '.join(names)}, found {name!r}. Correct the name, or add its folder."
        )
    return in_force(folder / swapping.BROKERS / name, LauncherSettings().pubsub)


def _look_at(pid: int) -> None:
    from sidestream.errors import ConfigurationError

    if not pid:
        return
    # Below 2 it is no process of a broker: -1 would name every process there is.
    if pid < 2 or pid == os.getpid():
        raise ConfigurationError(f"--pid {pid}: expected the broker's process, found none of a broker. Name the broker's.")
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError, OverflowError) as problem:
        raise ConfigurationError(f"--pid {pid}: expected a process of yours on this machine: {problem}. Name the broker's.") from None


async def _checked(wanted: "Wanted", server: str) -> "Run | None":
    """Ask everything; None when somebody interrupted it."""
    from rich.console import Console

    from sidestream.launcher.interruption import Interruption

    console = Console(stderr=True)
    with Interruption():
        return await _run(wanted, server, console)
    console.print("Interrupted; what had been started is stopped, and the check's topics are gone.", style="yellow")
    return None


async def _run(wanted: "Wanted", server: str, console: "Console") -> "Run":
    from sidestream.cli.broker_stage import staged
    from sidestream.conformance.probes import FULL, QUICK, Probe, ask_all
    from sidestream.conformance.results import Machine, Run
    from sidestream.launcher.plan import find_daprd

    probes = QUICK if wanted.quick else FULL
    begun, began, load = time.monotonic(), datetime.now(UTC), os.getloadavg()[0]

    def say(probe: Probe, number: int) -> None:
        console.print(f"{time.monotonic() - begun:5.0f} s  {number} of {len(probes)}  {probe.doing}", highlight=False)

    console.print(f"A sidecar and an app are started on {wanted.found.kind.name}.", highlight=False)
    async with staged(wanted) as stage:
        results = await ask_all(stage, probes, say)
    return Run(
        broker=wanted.found.kind.name,
        component=wanted.found.component.type,
        server=server,
        sidecar=f"daprd {find_daprd(wanted.tree).version}",
        follow=wanted.follow,
        scope="quick" if wanted.quick else "full",
        began=began.isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - begun, 1),
        machine=Machine.of(load, os.getloadavg()[0], os.cpu_count() or 1),
        results=results,
    )


def _print(found: "Run", *, as_json: bool) -> None:
    from sidestream.cli.output import print_json, print_table

    if as_json:
        print_json(found)
        return
    print_table(
        ("", "question", "answer", "what it means"), [(_MARKS[r.verdict], r.question, r.answer, r.explanation) for r in found.results]
    )
    bad = sum(result.verdict == "bad" for result in found.results)
    follow = "its log" if found.follow == "log" else "an inbox log of their own"
    fit = f"{bad} answers speak against it" if bad else "Nothing speaks against event sourcing on it"
    typer.echo(f"\n{found.broker}: projections follow {follow}. {fit}.")
