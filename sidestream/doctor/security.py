"""Who may speak to whom. On one machine an open door is a note; where an app listens to others it is a warning."""

from collections.abc import Iterator

from sidestream.doctor.deliveries import permissions
from sidestream.doctor.finding import Finding, Severity, warning
from sidestream.doctor.patient import Patient


def tokens(patient: Patient) -> Iterator[Finding]:
    """Sidecars and apps ask each other for tokens where they are switched on, or given."""
    told = [each for each in patient.apps if each.settings and each.settings.dapr_api_token and each.settings.app_api_token]
    if patient.launcher.tokens == "off" and len(told) < len(patient.apps):
        yield _open(
            patient,
            "SD401",
            "environment",
            "SIDESTREAM_TOKENS is off and DAPR_API_TOKEN, APP_API_TOKEN are not set: whoever reaches a sidecar or an app may speak for it.",
            "SIDESTREAM_TOKENS=on",
        )


def open_components(patient: Patient) -> Iterator[Finding]:
    """A component that names no apps is loaded by every sidecar of its folder."""
    for resource, apps in patient.logs():
        names = ", ".join(each.name for each in apps)
        if not resource.scopes:
            found = f"component `{resource.name}` has no scopes: a sidecar under any name loads it."
            yield _open(patient, "SD402", patient.place(resource.document, "metadata"), found, f"scopes: [{names}]")
        if "publishingscopes" not in resource.items and "allowedtopics" not in resource.items:
            found = f"component `{resource.name}` has no publishingScopes: every app may publish to every topic."
            remedy = f'- {{name: publishingScopes, value: "{";".join(f"{each.name}=<topics>" for each in apps)}"}}'
            yield _open(patient, "SD402", patient.place(resource.document, "spec", "metadata"), found, remedy)


def unnamed_publishers(patient: Patient) -> Iterator[Finding]:
    """Dapr lets an app that publishingScopes does not name publish anything."""
    for resource, apps in patient.logs():
        item = resource.items.get("publishingscopes")
        unnamed = [each.name for each in apps if item and item.text and each.name not in permissions(item)]
        if item and unnamed:
            yield warning(
                "SD403",
                patient.line(resource.file, item.line),
                f"publishingScopes does not name {', '.join(unnamed)}: Dapr lets an app that is not named publish to every topic.",
                f"Add `{';'.join(f'{name}=' for name in unnamed)}` to it, with the topics each may publish to.",
            )


def _open(patient: Patient, code: str, place: str, found: str, remedy: str) -> Finding:
    severity = Severity.WARNING if patient.reachable_from_outside else Severity.NOTE
    return Finding(code, severity, place, found, remedy)
