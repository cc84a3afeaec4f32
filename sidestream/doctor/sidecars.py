"""The sidecars: the program that would be started, and those that run."""

import re
from collections.abc import Iterator
from typing import Final

from sidestream.doctor.finding import Finding, Severity, error, note, warning
from sidestream.doctor.patient import AppSeen, Patient, SidecarSeen
from sidestream.doctor.starting import sidecar_name
from sidestream.launcher.daprd import PINNED, TESTED

OLDEST: Final = (1, 17)


def version(patient: Patient) -> Iterator[Finding]:
    """What Sidestream relies on was measured on one version."""
    running = sorted({each.version for each in _answering(patient)})
    for found in running or ([patient.daprd.version] if patient.daprd else []):
        numbers = tuple(int(part) for part in re.findall(r"\d+", found)[:2])
        if numbers == TESTED:
            continue
        wanted = ".".join(map(str, TESTED))
        say = warning if numbers < OLDEST else note
        yield say(
            "SD501",
            "sidecars" if running else str(patient.daprd.path if patient.daprd else ""),
            f"daprd calls its version `{found or 'nothing'}`; Sidestream is tested on {wanted}.x.",
            f"make setup  # builds daprd {PINNED}",
        )


def program(patient: Patient) -> Iterator[Finding]:
    """Without a program nothing can be started."""
    if patient.daprd is None and not any(_answering(patient)):
        passed_over = " ".join(map(str, patient.refused))
        yield error("SD502", "daprd", f"no usable daprd was found. {passed_over}".strip(), "make setup")


def sidecar_away(patient: Patient) -> Iterator[Finding]:
    """An app without its sidecar publishes nothing and hears nothing; in one process there are none."""
    if patient.live is None or not patient.live.speaks:
        return
    if patient.live.is_in_one_process:
        why = "apps answer and no sidecar does, as under `sidestream up --memory`."
        yield note("SD901", "sidecars", why, "sidestream up  # where there should be sidecars")
        return
    for each in patient.apps:
        seen = _seen(patient, each)
        if seen and seen.problem and not seen.frozen:
            others = "the app answers" if each.name in patient.live.answering else "others of the system answer"
            yield error(
                "SD503",
                f"app {each.name}",
                f"{others} and its sidecar does not, on port {each.app.http_port} ({seen.problem}): nothing is published, no bell rings.",
                patient.live.starts.get(sidecar_name(each.name)) or f"Start the sidecar of {each.name} again.",
            )


def component_loaded(patient: Patient) -> Iterator[Finding]:
    """A sidecar that could not load a component may run without it."""
    for each in patient.apps:
        seen = _seen(patient, each)
        if seen and not seen.problem and each.settings and each.settings.pubsub not in seen.components:
            yield error(
                "SD504",
                f"sidecar of {each.name}",
                f"it has loaded {', '.join(sorted(seen.components)) or 'no component'}, and not `{each.settings.pubsub}`: "
                "nothing can be published through it.",
                f"Look at logs/{each.name}.log for why, correct the component, and restart the sidecar.",
            )


def subscriptions(patient: Patient) -> Iterator[Finding]:
    """A sidecar asks its app once what to subscribe to, at its start."""
    for model in patient.live.read_models if patient.live else ():
        each = next(one for one in patient.apps if one.name == model.app)
        seen = None if _is_waited_for(patient, each) else _seen(patient, each)
        missing = [] if seen is None or seen.problem else [topic for topic in model.topics if topic not in seen.topics]
        if missing:
            yield Finding(
                "SD505",
                Severity.ERROR if each.keeps_an_inbox else Severity.WARNING,
                f"sidecar of {each.name}",
                f"it is not subscribed to {', '.join(missing)}: no delivery comes from there.",
                f"Restart the sidecar of {each.name} while its app runs.",
            )


def silence(patient: Patient) -> Iterator[Finding]:
    """The log moves and nobody rings: only progress tells, the sidecar's own health stays green."""
    for name in sorted(patient.live.silent) if patient.live else ():
        yield warning(
            "SD506",
            f"sidecar of {name}",
            "the log moves and it rings no bell; sweeps do its work, later than it would. It is stuck, whatever its health says.",
            f"Restart the sidecar of {name}; nothing is lost.",
        )


def stuck_relay(patient: Patient) -> Iterator[Finding]:
    """What a service has decided and its relay cannot publish is known to nobody else; the service itself stays green."""
    for relay in patient.live.relays if patient.live else ():
        if relay.stuck:
            yield error(
                "SD507",
                f"relay of {relay.app}",
                f"events of the store {relay.store} do not reach the log. {relay.stuck}",
                "Mend what the sidecar says; the relay goes on by itself, and nothing is lost.",
            )


def _is_waited_for(patient: Patient, each: AppSeen) -> bool:
    """Whether somebody starts this app himself and has not done so: its sidecar asks when it is there."""
    return patient.live is not None and each.name in patient.live.left_out - patient.live.answering


def _seen(patient: Patient, each: AppSeen) -> SidecarSeen | None:
    return patient.live.sidecars.get(each.name) if patient.live else None


def _answering(patient: Patient) -> Iterator[SidecarSeen]:
    return (each for each in (patient.live.sidecars.values() if patient.live else ()) if not each.problem)
