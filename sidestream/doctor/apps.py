"""The apps: is each one there, can it do its work, and does it move at all?"""

from collections.abc import Iterator

from sidestream.doctor.finding import Finding, error
from sidestream.doctor.patient import Patient
from sidestream.doctor.starting import sidecar_name


def app_away(patient: Patient) -> Iterator[Finding]:
    """Where nobody answers the system does not run, and that is no fault; where others do, one that is missing is."""
    live = patient.live
    if live is None or not live.speaks:
        return
    for each in patient.apps:
        seen = live.apps.get(each.name)
        if seen and seen.problem and not seen.frozen:
            yield error(
                "SD508",
                f"app {each.name}",
                f"others of the system answer and it does not, on port {each.app.port} ({seen.problem}): its commands and queries "
                f"are refused, and its work waits. Its last words are in logs/{each.name}.log.",
                live.starts.get(each.name) or f"Start {each.name} again.",
            )


def not_ready(patient: Patient) -> Iterator[Finding]:
    """An app that lives may be unable to work, and says why."""
    for each in patient.apps:
        seen = patient.live.apps.get(each.name) if patient.live else None
        if seen and seen.unready:
            ask = f"curl -s http://127.0.0.1:{each.app.port}/readyz"
            yield error("SD509", f"app {each.name}", f"it answers and is not ready. {seen.unready}", f"Do what it says, then ask: {ask}")


def frozen(patient: Patient) -> Iterator[Finding]:
    """Who takes a connection and says nothing holds its port and its locks: it is neither there nor away."""
    live = patient.live
    if live is None or not (live.speaks or live.runs):
        return
    for each in patient.apps:
        app, sidecar = live.apps.get(each.name), live.sidecars.get(each.name)
        if app and app.frozen:
            yield _stuck(f"app {each.name}", each.app.port, app.problem, live.starts.get(each.name))
        if sidecar and sidecar.frozen:
            line = live.starts.get(sidecar_name(each.name))
            yield _stuck(f"sidecar of {each.name}", each.app.http_port, sidecar.problem, line)


def _stuck(place: str, port: int, problem: str, line: str | None) -> Finding:
    again = f"start it again: {line}" if line else "start it again."
    return error(
        "SD510",
        place,
        f"port {port} takes connections and nothing answers ({problem}): the process is there and stands still.",
        f"ss -ltnp 'sport = :{port}'  # names its process: kill -CONT it where somebody paused it; else kill -9 it and {again}",
    )
