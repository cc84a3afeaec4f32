"""The apps: is each one there, can it do its work, and does it move at all?"""

from collections.abc import Iterator

from sidestream.doctor.finding import Finding, error, note
from sidestream.doctor.patient import AppHeard, AppSeen, Live, Patient
from sidestream.doctor.starting import sidecar_name


def app_away(patient: Patient) -> Iterator[Finding]:
    """Where nobody answers the system does not run, and that is no fault; where others do, one that is missing is."""
    live = patient.live
    if live is None or not live.speaks:
        return
    for each in patient.apps:
        seen = live.apps.get(each.name)
        if seen and seen.problem and not seen.frozen:
            yield _away(live, each, seen)


def _away(live: Live, each: AppSeen, seen: AppHeard) -> Finding:
    """One that was left out is its owner's to start; its sidecar waits for it."""
    is_left_out = each.name in live.left_out
    why = f"`sidestream up --except {each.name}` has left it out" if is_left_out else "others of the system answer"
    last_words = "" if is_left_out else f" Its last words are in logs/{each.name}.log."
    return (note if is_left_out else error)(
        "SD508",
        f"app {each.name}",
        f"{why} and it does not answer, on port {each.app.port} ({seen.problem}): its commands and queries are refused, and its work "
        f"waits.{last_words}",
        live.starts.get(each.name) or f"Start {each.name}{'' if is_left_out else ' again'}.",
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
