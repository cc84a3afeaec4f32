"""The one list of checks, and looking with all of them."""

from collections.abc import Callable, Collection, Iterator
from typing import Final

from sidestream.doctor import apps, brokers, components, deliveries, machine, read_models, run_file, security, sidecars
from sidestream.doctor.finding import CODES, Finding
from sidestream.doctor.patient import Patient
from sidestream.errors import ConfigurationError

Check = Callable[[Patient], Iterator[Finding]]

CHECKS: Final[tuple[Check, ...]] = (
    run_file.health_check,
    run_file.what_is_named,
    run_file.pubsub_component,
    run_file.scopes,
    run_file.hot_reload,
    components.trimming,
    components.redelivery,
    components.consumers,
    components.initial_offset,
    components.dead_letters_in_the_stream,
    components.queue_depth,
    components.acknowledging,
    components.forgetful_queues,
    components.in_memory,
    deliveries.retry_policy,
    deliveries.closed_dead_letters,
    deliveries.declared_subscriptions,
    security.tokens,
    security.open_components,
    security.unnamed_publishers,
    sidecars.version,
    sidecars.program,
    sidecars.sidecar_away,
    sidecars.component_loaded,
    sidecars.subscriptions,
    sidecars.silence,
    sidecars.stuck_relay,
    apps.app_away,
    apps.not_ready,
    apps.frozen,
    brokers.append_only,
    brokers.flushing,
    brokers.eviction,
    brokers.partitions,
    brokers.expiry,
    brokers.missing_topics,
    brokers.retention,
    brokers.dead_letters_in_the_stream,
    brokers.broker_clock,
    brokers.beginning,
    brokers.broker_away,
    brokers.broker_unknown,
    read_models.older_than_its_code,
    read_models.not_live,
    read_models.unreadable,
    read_models.database_clock,
    read_models.databases_unknown,
    machine.ports,
    machine.not_looked_at,
)


def look(patient: Patient, only: Collection[str] = ()) -> list[Finding]:
    """Return what is found, the worst first; only these codes where some are named."""
    found = [finding for check in CHECKS for finding in check(patient) if not only or finding.code in only]
    return sorted(found, key=lambda finding: (finding.severity, finding.code, finding.place))


def known(codes: Collection[str]) -> frozenset[str]:
    """Return codes as they are written in the list; raises ConfigurationError for one that is not in it."""
    written = frozenset(code.upper() for code in codes)
    if unknown := sorted(written - CODES.keys()):
        raise ConfigurationError(f"--only: expected a code of docs/doctor.md, such as SD101, found {', '.join(unknown)}. Correct it.")
    return written
