"""Asks what runs: sidecars, apps, brokers, databases, ports. Changes nothing anywhere, and waits for nobody long.

What does not answer is said in the answer, never raised: a patient who cannot speak is still examined.
"""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sidestream.applying.applied import CHECKPOINTS
from sidestream.cli.asking import ask
from sidestream.cli.declared import Declared, declared
from sidestream.doctor.broker_probes import probe_broker
from sidestream.doctor.hearing import heard
from sidestream.doctor.patient import AppHeard, AppSeen, BrokerSeen, DatabaseSeen, Live, Patient, ReadModelSeen, SidecarSeen
from sidestream.doctor.starting import BROKER, lines, sidecar_name
from sidestream.errors import SidestreamError, StoreAway
from sidestream.launcher.folder import DEFAULT, SystemFolder
from sidestream.launcher.network import LOOPBACK, is_free
from sidestream.ports import GenerationInfo, Query, ReadModels
from sidestream.projection import Projection

if TYPE_CHECKING:
    from sidestream.settings import Settings

_SECONDS: Final = 2.0
_NOTHING_RUNS: Final = "no app and no sidecar of the run file answers; the system does not run."


def probe(patient: Patient, data: Path | None) -> Live:
    """Ask everything that can be asked of a system."""
    place = SystemFolder(data or patient.base / DEFAULT)
    apps, sidecars = heard(patient.apps, place)
    answering = frozenset(name for name, said in apps.items() if not said.problem)
    missed = {} if answering or any(not seen.problem for seen in sidecars.values()) else {"sidecars and apps": _NOTHING_RUNS}
    models, registered, problem = _read_models(patient, data)
    health = {model.app: ask(_door(patient, model), model.projection).health for model in models if model.app in answering}
    with contextlib.chdir(patient.base):
        brokers = list(_brokers(patient, registered))
    return Live(
        runs=place.is_claimed,
        left_out=place.left_out,
        sidecars=sidecars,
        apps=apps,
        answering=answering,
        silent=frozenset(app for app, said in health.items() if said.sidecar_silent),
        relays=[said.relay for said in apps.values() if said.relay],
        brokers=brokers,
        read_models=models,
        databases=[database_of(url) for url in sorted(_urls(patient))],
        taken={(each.name, key): port for each in patient.apps for key, port in each.app.ports.items() if not is_free(port)},
        missed={**missed, **({"read models": problem} if problem else {})},
        starts={} if "sidecars and apps" in missed else lines(patient, place, _away(apps, sidecars, brokers)),
    )


def _away(apps: Mapping[str, AppHeard], sidecars: Mapping[str, SidecarSeen], brokers: Sequence[BrokerSeen]) -> set[str]:
    """Return the names of what does not answer, of those that can be started."""
    away = {name for name, said in apps.items() if said.problem}
    away |= {sidecar_name(name) for name, said in sidecars.items() if said.problem}
    return away | ({BROKER} if any(each.away for each in brokers) else set())


def _door(patient: Patient, model: ReadModelSeen) -> str:
    port = next(each.app.port for each in patient.apps if each.name == model.app)
    return f"http://{LOOPBACK}:{port}"


# ── read models and databases ────────────────────────────────────────────────────────────────────────────────────────


def _read_models(patient: Patient, data: Path | None) -> tuple[list[ReadModelSeen], frozenset[str], str]:
    """Return projections as their databases have them, every topic that is declared, and why nothing could be declared."""
    settings = {each.name: each.settings for each in patient.apps}
    try:
        with declared(patient.run_file.file, data) as found:
            models = [_read_model(each, settings[each.app]) for each in found]
            return models, frozenset(topic for each in found for topic in each.registry.topics), ""
    except (SidestreamError, ImportError, SyntaxError) as problem:
        return [], frozenset(topic for each in patient.apps for topic in each.topics or ()), str(problem)


def _read_model(each: Declared, settings: "Settings | None") -> ReadModelSeen:
    name, version, topics = each.projection.name, each.projection.version, tuple(each.projection.topics)
    if settings is None or (not settings.database_url and not (settings.data / "read-models" / name).is_dir()):
        return ReadModelSeen(name, each.app, version, topics)  # opening it would make it
    live = None
    try:
        with each.read_models() as opened:
            live = next((info for info in opened.generations() if info.live), None)
            if live:
                _read_from(opened, live, each.projection)
    except SidestreamError as problem:
        return ReadModelSeen(name, each.app, version, topics, problem=str(problem), broken=live.name if live else "")
    built, generation = (live.version, live.name) if live else (None, "")
    return ReadModelSeen(name, each.app, version, topics, built, generation)


def _read_from(opened: ReadModels, live: GenerationInfo, projection: Projection) -> None:
    """Read a row of every table of the live generation; raises SidestreamError where that cannot be done."""
    if not opened.size(live.name):  # opening it would make it
        raise StoreAway(f"{projection.name}: expected rows of the live generation {live.name}, found nothing where they were kept.")
    own = projection.tables if live.version == projection.version else ()
    with closing(opened.open(live.name)) as generation, generation.snapshot() as reader:
        for table in (CHECKPOINTS, *own):
            reader.select(table, Query(limit=1))


def _urls(patient: Patient) -> set[str]:
    told = [each.settings for each in patient.apps if each.settings]
    return {url for settings in told for url in (settings.database_url, settings.store_url) if url}


def database_of(url: str) -> DatabaseSeen:
    """Ask a PostgreSQL server for its time."""
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    where = "PostgreSQL"
    try:
        parts: Mapping[str, Any] = conninfo_to_dict(url)
        where = f"PostgreSQL {parts.get('host', 'localhost')}:{parts.get('port', 5432)}/{parts.get('dbname', '')}"
        with psycopg.connect(url, connect_timeout=int(_SECONDS)) as connection:
            asked = time.time()
            row = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
            answered = time.time()
    except psycopg.Error as problem:
        return DatabaseSeen(where, problem=f"it does not answer: {' '.join(str(problem).split())}")
    assert row is not None, "a SELECT of one value has one row"
    return DatabaseSeen(where, skew=float(row[0]) - (asked + answered) / 2)


# ── brokers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _brokers(patient: Patient, topics: frozenset[str]) -> Iterator[BrokerSeen]:
    """Ask each broker that a component in force names, once."""
    for _, apps in patient.logs():
        told = apps[0].settings
        if told is not None:
            yield probe_broker(told.components, told.pubsub, sorted(topics), _inboxes(apps))


def _inboxes(apps: Sequence[AppSeen]) -> dict[str, list[str]]:
    """Return topic → apps that keep an inbox of it, as far as the component's scopes say."""
    found: dict[str, list[str]] = {}
    for each in apps:
        for topic in (each.topics or ()) if each.keeps_an_inbox else ():
            found.setdefault(topic, []).append(each.name)
    return found
