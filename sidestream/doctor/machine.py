"""This machine: are the ports free that a start would need? And what could not be looked at."""

from collections.abc import Iterator

from sidestream.doctor.finding import Finding, error, note
from sidestream.doctor.patient import Patient


def ports(patient: Patient) -> Iterator[Finding]:
    """A port that somebody else holds stops the start."""
    live = patient.live
    if live is None or live.runs:
        return
    ours = {name for name, seen in live.sidecars.items() if not seen.problem} | live.answering
    if live.speaks:
        # SD510 speaks of them.
        ours |= {name for name, app in live.apps.items() if app.frozen} | {name for name, each in live.sidecars.items() if each.frozen}
    for (app, key), port in live.taken.items():
        if app not in ours:
            yield error(
                "SD801",
                f"app {app}",
                f"port {port} ({key}) is taken, and not by this system: it cannot start.",
                f"ss -ltnp 'sport = :{port}'  # names who; stop that, or give {app} another {key}",
            )


def not_looked_at(patient: Patient) -> Iterator[Finding]:
    """Silence about what nobody asked would read as health."""
    for what, why in patient.live.missed.items() if patient.live else ():
        yield note("SD901", what, f"not looked at: {why}", "sidestream up, then sidestream doctor again")
    if patient.live is None:
        yield note("SD901", "everything that runs", "not looked at: --offline was given.", "sidestream doctor")
