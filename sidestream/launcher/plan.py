"""What is going to be started, looked at as a whole before the first process exists.

Everything that can be known beforehand to be wrong is one sentence here: an unknown name, a missing component,
a missing daprd, a port in use.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sidestream.launcher import daprd, resources
from sidestream.launcher.daprd import Daprd
from sidestream.launcher.folder import SystemFolder
from sidestream.launcher.network import free_ports, is_free
from sidestream.launcher.problem import CannotStart
from sidestream.launcher.runfile import App, read


@dataclass(frozen=True)
class Wishes:
    """What the caller wants different from what dapr.yaml says."""

    # Apps whose own process is somebody else's; their sidecars are started.
    leave_out: Collection[str] = ()
    # Free ports instead of those in the file, so that several systems run side by side.
    free_ports: bool = False
    # More variables for every app.
    environment: Mapping[str, str] = field(default_factory=dict)
    # Take a broker that may lose events.
    unsafe: bool = False
    # Seconds each part has to become healthy.
    patience: float = 60.0


@dataclass(frozen=True)
class Plan:
    """The apps, and what all of them need."""

    base: Path
    apps: Sequence[App]
    daprd: Daprd
    wishes: Wishes
    # By app: the folders its sidecar loads, and the one among them that holds the pub/sub component.
    resources: Mapping[str, Sequence[Path]]
    components: Mapping[str, Path]


def make(run_file: Path, place: SystemFolder, pubsub: str, wishes: Wishes) -> Plan:
    """Read the run file and look at everything it needs.

    Raises:
        CannotStart: something is missing or taken; nothing was started.
    """
    base = run_file.resolve().parent
    apps = choose_apps(run_file, wishes)
    components = {app.name: resources.check(app, pubsub) for app in apps}
    check_ports(apps, wishes.leave_out)
    program = find_daprd(base)
    folders: dict[str, Sequence[Path]] = {app.name: app.resource_folders for app in apps}
    if not place.is_default_of(base):
        folders, components = _relocate(folders, components, place)
    return Plan(base, apps, program, wishes, folders, components)


def choose_apps(run_file: Path, wishes: Wishes) -> list[App]:
    """Return the apps of the file, on the ports they will have."""
    apps = read(run_file).apps
    names = [app.name for app in apps]
    for name in wishes.leave_out:
        if name not in names:
            raise CannotStart(f"--except {name}: expected an app of {run_file}, which has {', '.join(names)}. Correct the name.")
    return _on_free_ports(apps) if wishes.free_ports else apps


def check_ports(apps: Sequence[App], leave_out: Collection[str] = ()) -> None:
    """Make sure that nobody listens where the apps and sidecars are going to.

    The port of a left-out app may be taken: its process may run already, in a debugger.
    """
    for app in apps:
        for key, port in app.ports.items():
            if is_free(port) or (key == "appPort" and app.name in leave_out):
                continue
            raise CannotStart(
                f"port {port}: expected it free for {key} of app {app.name}, but something listens there (`ss -ltnp 'sport = :{port}'` "
                "names it). Stop that, or give the app another port in dapr.yaml."
            )


def find_daprd(base: Path) -> Daprd:
    """Return the sidecar program, or say what was found instead."""
    found, refused = daprd.find(base)
    if found is None:
        found, also_refused = daprd.find(Path.cwd())
        refused = refused + [one for one in also_refused if one not in refused]
    if found is None:
        passed_over = "".join(f" {one}" for one in refused)
        raise CannotStart(
            f"daprd: expected one in DAPR_RUNTIME_PATH, ~/.dapr/bin, PATH or the cache, found none.{passed_over} Run `make setup`."
        )
    return found


def _on_free_ports(apps: Sequence[App]) -> list[App]:
    ports = iter(free_ports(4 * len(apps)))
    fields = ("port", "http_port", "grpc_port", "metrics_port")
    return [app.model_copy(update={name: next(ports) for name in fields}) for app in apps]


def _relocate(
    folders: Mapping[str, Sequence[Path]], components: Mapping[str, Path], place: SystemFolder
) -> tuple[dict[str, Sequence[Path]], dict[str, Path]]:
    """Give a system outside the default folder its own copy of the resources, so that its secrets are its own."""
    sources = sorted({folder for some in folders.values() for folder in some})
    copies = {source: resources.moved(source, place.resources / str(number), place.secrets) for number, source in enumerate(sources)}
    return (
        {name: [copies[folder] for folder in some] for name, some in folders.items()},
        {name: copies[folder] for name, folder in components.items()},
    )
