"""Everything that checks look at, read once: the run file, resources, settings, and what answers. Holds it, judges nothing."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sidestream.doctor.pages import Document, Resource
from sidestream.launcher.daprd import Daprd, Refused
from sidestream.launcher.runfile import App
from sidestream.launcher.settings import LauncherSettings
from sidestream.settings import Settings


@dataclass(frozen=True)
class AppSeen:
    """An app of the run file.

    Attributes:
        at: its place in the list of the run file.
        settings: what `sidestream up` would tell it; None where its resources are missing.
        pubsub: the component that its settings name, if one of its folders holds it.
        topics: topics that it hears by the component's subscriptionScopes; None where those say nothing about it.
    """

    app: App
    at: int
    settings: Settings | None
    pubsub: Resource | None
    topics: tuple[str, ...] | None

    @property
    def name(self) -> str:
        """Its app id."""
        return self.app.name

    @property
    def hears(self) -> bool:
        """Whether anything is delivered to it."""
        is_projection = any(word.startswith("projections.") for word in self.app.command)
        return is_projection if self.topics is None else bool(self.topics)

    @property
    def keeps_an_inbox(self) -> bool:
        """Whether a delivery to it is the truth."""
        return self.settings is not None and self.settings.follow == "inbox" and self.hears


# ── what answers ─────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class SidecarSeen:
    """What a sidecar says of itself. `problem`: why it says nothing, empty where it answers; `frozen`: it took the connection."""

    app: str
    problem: str = ""
    frozen: bool = False
    version: str = ""
    components: frozenset[str] = frozenset()
    topics: frozenset[str] = frozenset()


@dataclass(frozen=True)
class RelaySeen:
    """What a service says of its relay. `stuck`: what has waited for too long and why, empty where nothing has."""

    app: str
    store: str
    stuck: str = ""


@dataclass(frozen=True)
class AppHeard:
    """What an app says of itself.

    Attributes:
        problem: why it says nothing, empty where it answers.
        frozen: it takes connections and says nothing.
        unready: why it cannot do its work, empty where it can.
        relay: of a service with an event store.
    """

    name: str
    problem: str = ""
    frozen: bool = False
    unready: str = ""
    relay: RelaySeen | None = None


@dataclass(frozen=True)
class TopicSeen:
    """A topic as its broker keeps it.

    Attributes:
        partitions: how many, of Kafka.
        expires: settings that let events go, as `name=value`.
        retention: of a JetStream stream.
        stream, undelivered: streams that hold it, and dead letters of it.
        gone_to: position up to which the log is gone.
    """

    name: str
    exists: bool = True
    partitions: int = 1
    expires: tuple[str, ...] = ()
    retention: str = "limits"
    stream: str = ""
    undelivered: Mapping[str, str] = field(default_factory=dict)
    gone_to: str = ""


@dataclass(frozen=True)
class BrokerSeen:
    """A broker.

    Attributes:
        problem: why nothing is known of it.
        away: it does not answer; one that answers and refuses is not away.
        skew: seconds that its clock is ahead of ours.
    """

    address: str
    kind: str
    problem: str = ""
    away: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)
    skew: float | None = None
    topics: Sequence[TopicSeen] = ()


@dataclass(frozen=True)
class ReadModelSeen:
    """A projection, and the version of its live generation: None where none is live.

    Attributes:
        problem: why it cannot be read.
        broken: the live generation that cannot be read although the catalogue beside it can.
    """

    projection: str
    app: str
    code: int
    topics: Sequence[str]
    built: int | None = None
    generation: str = ""
    problem: str = ""
    broken: str = ""


@dataclass(frozen=True)
class DatabaseSeen:
    """A PostgreSQL server, without who logs in."""

    where: str
    skew: float = 0.0
    problem: str = ""


@dataclass(frozen=True)
class Live:
    """What was found running.

    Attributes:
        runs: whether a `sidestream up` holds the folder.
        left_out: apps that it was told to leave to somebody else, by --except.
        apps: what every app of the run file says; `answering`: those that answer at all.
        silent: apps whose log moves without a bell.
        relays: of every service that answers and has an event store.
        taken: ports of the run file that somebody listens on, by app and key.
        missed: what could not be looked at, and why.
        starts: the line that starts what does not answer, by `<app>`, `<app>/daprd` or `broker`.
    """

    runs: bool = False
    left_out: frozenset[str] = frozenset()
    sidecars: Mapping[str, SidecarSeen] = field(default_factory=dict)
    apps: Mapping[str, AppHeard] = field(default_factory=dict)
    answering: frozenset[str] = frozenset()
    silent: frozenset[str] = frozenset()
    relays: Sequence[RelaySeen] = ()
    brokers: Sequence[BrokerSeen] = ()
    read_models: Sequence[ReadModelSeen] = ()
    databases: Sequence[DatabaseSeen] = ()
    taken: Mapping[tuple[str, str], int] = field(default_factory=dict)
    missed: Mapping[str, str] = field(default_factory=dict)
    starts: Mapping[str, str] = field(default_factory=dict)

    @property
    def speaks(self) -> bool:
        """Whether any app or sidecar answers: the system is there, whole or not."""
        return bool(self.answering) or self._has_sidecars

    @property
    def is_in_one_process(self) -> bool:
        """Whether it looks like `sidestream up --memory`: apps without a single sidecar, and nothing in the folder is theirs."""
        return bool(self.answering) and not self.runs and not self._has_sidecars

    @property
    def _has_sidecars(self) -> bool:
        return any(not each.problem for each in self.sidecars.values())


@dataclass(frozen=True)
class Patient:
    """A system of one run file."""

    base: Path
    run_file: Document
    apps: Sequence[AppSeen]
    resources: Mapping[Path, Sequence[Resource]]
    configurations: Mapping[Path, Sequence[Document]]
    launcher: LauncherSettings
    daprd: Daprd | None
    refused: Sequence[Refused]
    live: Live | None = None

    def place(self, document: Document, *path: str | int) -> str:
        """Return file:line, the file as seen from the run file where it lies below it."""
        return self.line(document.file, document.line(*path))

    def line(self, file: Path, number: int) -> str:
        """Return file:line."""
        return f"{self.short(file)}:{number}"

    def short(self, file: Path) -> str:
        """Return a path as seen from the run file, where it lies below it."""
        return str(file.relative_to(self.base) if file.is_relative_to(self.base) else file)

    def logs(self, *types: str) -> Iterator[tuple[Resource, Sequence[AppSeen]]]:
        """Go through the pub/sub components in force, each once, with the apps that use it; of these types, or all."""
        for resource in {id(each.pubsub): each.pubsub for each in self.apps if each.pubsub}.values():
            if not types or resource.type in types:
                yield resource, [each for each in self.apps if each.pubsub is resource]

    def loaded_by(self, app: AppSeen, kind: str) -> Iterator[Resource]:
        """Go through the resources of a kind that an app's sidecar loads."""
        for folder in app.app.resource_folders:
            yield from (each for each in self.resources.get(folder, ()) if each.kind == kind and each.is_for(app.name))

    @property
    def reachable_from_outside(self) -> bool:
        """Whether an app listens on more than this machine."""
        hosts = {each.settings.host for each in self.apps if each.settings}
        return bool(hosts - {"127.0.0.1", "localhost", "::1"})


def any_keeps_an_inbox(apps: Iterable[AppSeen]) -> bool:
    """Whether a delivery is the truth for one of them."""
    return any(each.keeps_an_inbox for each in apps)
