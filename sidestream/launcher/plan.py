"""What is going to be started, looked at as a whole before the first process exists.

Everything that can be known beforehand to be wrong is one sentence here: an unknown name, a missing component,
a missing daprd, a port in use.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sidestream.adapters.broker_kinds import IN_MEMORY, JETSTREAM, InForce, in_force
from sidestream.launcher import daprd, resources
from sidestream.launcher.daprd import Daprd
from sidestream.launcher.folder import SystemFolder
from sidestream.launcher.network import LOOPBACK, free_ports, is_free
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
    # What a broker that needs it gets topics or streams for before anything starts.
    topics: Collection[str] = ()
    # Tokens, component scopes and topic permissions in force; without them a probe or a test publishes as anybody.
    guarded: bool = True
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
    # By app: the pub/sub component in that folder. All of them name one broker.
    brokers: Mapping[str, InForce]


def make(run_file: Path, place: SystemFolder, pubsub: str, wishes: Wishes) -> Plan:
    """Read the run file and look at everything it needs.

    Raises:
        CannotStart: something is missing or taken; nothing was started.
    """
    base = run_file.resolve().parent
    apps = choose_apps(run_file, wishes)
    components = {app.name: resources.check(app, pubsub, guarded=wishes.guarded) for app in apps}
    check_ports(apps, wishes.leave_out)
    program = find_daprd(base)
    folders: dict[str, Sequence[Path]] = {app.name: app.resource_folders for app in apps}
    if not place.is_default_of(base) or not wishes.guarded:
        folders, components = _relocate(folders, components, place, guarded=wishes.guarded)
    brokers = {name: in_force(folder, pubsub) for name, folder in components.items()}
    _check_brokers(brokers, program)
    return Plan(base, apps, program, wishes, folders, components, brokers)


def _check_brokers(brokers: Mapping[str, InForce], program: Daprd) -> None:
    kinds = {found.component.type: found for found in brokers.values()}
    if len(kinds) > 1:
        named = " and ".join(str(found.component) for found in kinds.values())
        raise CannotStart(f"expected one broker for all apps, found {' and '.join(kinds)}: {named}. Put one of them in force.")
    if IN_MEMORY in kinds and len(brokers) > 1:
        raise CannotStart(
            f"{kinds[IN_MEMORY].component}: expected a broker that {len(brokers)} apps share, found the in-memory one: "
            "each sidecar has its own. Put another in force (`sidestream broker use redis`), or start `sidestream up --memory`."
        )
    if JETSTREAM in kinds and not program.has_jetstream:
        raise CannotStart(f"expected a daprd with JetStream, found {program}. Run `make setup` without it, or use another broker.")


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
    moved = [app.model_copy(update={name: next(ports) for name in fields}) for app in apps]
    # What an app is told of another one's address moves with it.
    address = {_address(before): _address(after) for before, after in zip(apps, moved, strict=True)}
    return [
        app.model_copy(update={"environment": {name: address.get(value, value) for name, value in app.environment.items()}})
        for app in moved
    ]


def _address(app: App) -> str:
    return f"http://{LOOPBACK}:{app.port}"


def _relocate(
    folders: Mapping[str, Sequence[Path]], components: Mapping[str, Path], place: SystemFolder, *, guarded: bool
) -> tuple[dict[str, Sequence[Path]], dict[str, Path]]:
    """Give a system outside the default folder its own copy of the resources, so that its secrets are its own."""
    sources = sorted({folder for some in folders.values() for folder in some})
    copies = {
        source: resources.moved(source, place.resources / str(number), place.secrets, guarded=guarded)
        for number, source in enumerate(sources)
    }
    return (
        {name: [copies[folder] for folder in some] for name, some in folders.items()},
        {name: copies[folder] for name, folder in components.items()},
    )
