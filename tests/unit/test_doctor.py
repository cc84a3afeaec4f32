"""The doctor's checks: each finds what is wrong in a broken example, and nothing in what the repository ships."""

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from sidestream.doctor.checks import CHECKS, look
from sidestream.doctor.examination import examine
from sidestream.doctor.finding import CODES, Finding, Severity
from sidestream.doctor.patient import AppHeard, BrokerSeen, DatabaseSeen, Live, Patient, ReadModelSeen, RelaySeen, SidecarSeen, TopicSeen
from sidestream.launcher.daprd import Daprd, Refused
from sidestream.launcher.settings import LauncherSettings

ROOT = Path(__file__).resolve().parents[2]
BROKEN = ROOT / "tests" / "doctor" / "broken"
EXAMPLES = sorted(path.name for path in BROKEN.iterdir())
SOUND = Daprd(Path("/opt/daprd"), "1.18.1", has_jetstream=True)
ERROR, WARNING, NOTE = Severity.ERROR, Severity.WARNING, Severity.NOTE

# What each example is found to be, and where.
EXPECTED = {
    "sd101-health-check": (ERROR, "dapr.yaml:22"),
    "sd102-missing-folder": (ERROR, "dapr.yaml:4"),
    "sd103-no-component": (ERROR, "dapr.yaml:4"),
    "sd104-outside-the-scopes": (ERROR, "components/pubsub.yaml:15"),
    "sd105-hot-reload": (WARNING, "configuration.yaml:6"),
    "sd105-hot-reload-of-an-inbox": (ERROR, "configuration.yaml:6"),
    "sd201-trimmed-by-age": (ERROR, "components/pubsub.yaml:11"),
    "sd201-trimmed-by-length": (ERROR, "components/pubsub.yaml:11"),
    "sd202-interval-as-text": (WARNING, "components/pubsub.yaml:11"),
    "sd203-shared-consumer": (WARNING, "components/pubsub.yaml:11"),
    "sd203-shared-group-of-inboxes": (ERROR, "components/pubsub.yaml:15"),
    "sd204-newest": (WARNING, "components/pubsub.yaml:8"),
    "sd204-newest-for-an-inbox": (ERROR, "components/pubsub.yaml:13"),
    "sd205-one-stream": (ERROR, "components/pubsub.yaml:11"),
    "sd206-small-queue": (WARNING, "components/pubsub.yaml:13"),
    "sd207-no-acknowledgement": (ERROR, "components/pubsub.yaml:11"),
    "sd207-parallel": (ERROR, "components/pubsub.yaml:11"),
    "sd208-transient": (ERROR, "components/pubsub.yaml:8"),
    "sd208-unconfirmed": (ERROR, "components/pubsub.yaml:15"),
    "sd208-unused": (ERROR, "components/pubsub.yaml:8"),
    "sd209-in-memory": (ERROR, "components/pubsub.yaml:6"),
    "sd301-no-retry": (ERROR, "components/resiliency.yaml"),
    "sd302-retry-ends": (WARNING, "components/resiliency.yaml:11"),
    "sd303-dead-letters-closed": (ERROR, "components/pubsub.yaml:11"),
    "sd304-no-dead-letter-topic": (ERROR, "components/subscription.yaml:5"),
    "sd401-tokens-off": (WARNING, "environment"),
    "sd402-no-publishing-scopes": (WARNING, "components/pubsub.yaml:8"),
    "sd402-no-scopes": (WARNING, "components/pubsub.yaml:3"),
    "sd403-not-named": (WARNING, "components/pubsub.yaml:11"),
}

# What runs, each with one thing wrong with it.
KAFKA, STREAM, REDIS = "pubsub.kafka", "pubsub.jetstream", "pubsub.redis"
TALLY = SidecarSeen("tally", version="1.18.1", components=frozenset({"pubsub"}), topics=frozenset({"votes"}))
MODEL = ReadModelSeen("tally", "tally", 1, ("votes",), built=1, generation="g1")


def running(**changes: Any) -> Live:
    """A system that is well, but for what is changed."""
    whole: dict[str, Any] = {"runs": True, "sidecars": {"tally": TALLY}, "answering": frozenset({"tally"}), "read_models": [MODEL]}
    return Live(**{**whole, **changes})


def broker(kind: str, *topics: TopicSeen, **more: Any) -> Live:
    return running(brokers=[BrokerSeen("broker at 127.0.0.1", kind, topics=topics, **more)])


def sidecar(**changes: Any) -> Live:
    return running(sidecars={"tally": replace(TALLY, **changes)})


LIVE: Sequence[tuple[str, Severity, Live, str]] = [
    ("SD501", WARNING, sidecar(version="1.16.4"), "1.16.4"),
    ("SD501", WARNING, sidecar(version="edge"), "`edge`"),
    ("SD501", NOTE, sidecar(version="1.17.2"), "1.17.2"),
    ("SD501", NOTE, sidecar(version="1.19.0"), "1.19.0"),
    ("SD503", ERROR, sidecar(problem="Connection refused"), "Connection refused"),
    ("SD503", ERROR, running(sidecars={"tally": TALLY, "votes": SidecarSeen("votes", problem="refused")}), "others of the system answer"),
    ("SD508", ERROR, running(apps={"votes": AppHeard("votes", problem="Connection refused")}), "Connection refused"),
    ("SD508", NOTE, running(apps={"votes": AppHeard("votes", problem="refused")}, left_out=frozenset({"votes"})), "--except votes"),
    ("SD508", ERROR, running(apps={"votes": AppHeard("votes", problem="refused")}, left_out=frozenset({"tally"})), "last words"),
    ("SD509", ERROR, running(apps={"tally": AppHeard("tally", unready="tally: the log is away")}), "the log is away"),
    ("SD510", ERROR, running(apps={"votes": AppHeard("votes", problem="timed out", frozen=True)}), "app votes"),
    ("SD510", ERROR, sidecar(problem="timed out", frozen=True), "sidecar of tally"),
    ("SD504", ERROR, sidecar(components=frozenset({"secrets"})), "secrets, and not `pubsub`"),
    ("SD505", WARNING, sidecar(topics=frozenset()), "not subscribed to votes"),
    ("SD506", WARNING, running(silent=frozenset({"tally"})), "rings no bell"),
    ("SD507", ERROR, running(relays=[RelaySeen("votes", "votes", "votes: 3 events wait: PERMISSION_DENIED")]), "PERMISSION_DENIED"),
    ("SD601", ERROR, broker(REDIS, settings={"appendonly": "no"}), "appendonly is no"),
    ("SD610", NOTE, broker(REDIS, settings={"appendonly": "yes", "appendfsync": "everysec"}), "appendfsync is everysec"),
    ("SD602", ERROR, broker(REDIS, settings={"maxmemory-policy": "allkeys-lru"}), "allkeys-lru"),
    ("SD603", ERROR, broker(KAFKA, TopicSeen("votes", partitions=4)), "4 partitions"),
    ("SD604", ERROR, broker(KAFKA, TopicSeen("votes", expires=("retention.ms=604800000",))), "retention.ms=604800000"),
    ("SD604", ERROR, broker(STREAM, TopicSeen("votes", expires=("max_age=1",), stream="all")), "max_age=1"),
    ("SD605", ERROR, broker(KAFKA, TopicSeen("votes", exists=False)), "not there"),
    ("SD606", ERROR, broker(STREAM, TopicSeen("votes", retention="workqueue", stream="all")), "workqueue"),
    ("SD606", ERROR, broker(STREAM, TopicSeen("votes", retention="interest", stream="all")), "interest"),
    ("SD205", ERROR, broker(STREAM, TopicSeen("votes", stream="all", undelivered={"votes.undelivered.tally": "all"})), "too"),
    ("SD607", WARNING, broker(REDIS, skew=-3.0), "3.0 s behind"),
    ("SD608", WARNING, broker(REDIS, TopicSeen("votes", gone_to="7-0")), "up to 7-0"),
    ("SD609", ERROR, broker(REDIS, problem="Connection refused", away=True), "Connection refused"),
    ("SD901", NOTE, broker(REDIS, problem="invalid password"), "invalid password"),
    ("SD901", NOTE, Live(brokers=[BrokerSeen("broker", REDIS, problem="Connection refused", away=True)]), "Connection refused"),
    ("SD701", WARNING, running(read_models=[replace(MODEL, code=2)]), "built by version 1; the code is version 2"),
    ("SD702", WARNING, running(read_models=[replace(MODEL, built=None)]), "every query is refused"),
    ("SD702", NOTE, running(read_models=[replace(MODEL, built=None)], answering=frozenset(), sidecars={}), "never started"),
    ("SD703", ERROR, running(read_models=[replace(MODEL, problem="away")]), "away"),
    ("SD703", ERROR, running(read_models=[replace(MODEL, problem="g1: not a database", broken="g1")]), "not a database"),
    ("SD703", ERROR, running(databases=[DatabaseSeen("PostgreSQL db:5432/x", problem="it does not answer")]), "does not answer"),
    ("SD704", WARNING, running(databases=[DatabaseSeen("PostgreSQL db:5432/x", skew=2.5)]), "2.5 s ahead"),
    ("SD801", ERROR, Live(taken={("votes", "appPort"): 18101}), "port 18101 (appPort)"),
    ("SD901", NOTE, Live(missed={"read models": "no module"}), "no module"),
]


@pytest.fixture(autouse=True)
def nothing_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have settings of their own."""
    for name in [name for name in os.environ if name.startswith("SIDESTREAM_") or name.endswith("_API_TOKEN")]:
        monkeypatch.delenv(name)


def patient(file: Path, tokens: Any = "on", found: Daprd | None = SOUND, refused: Sequence[Refused] = ()) -> Patient:
    return examine(file, None, LauncherSettings(tokens=tokens), (found, refused))


@cache
def example(name: str) -> Patient:
    return patient(BROKEN / name / "dapr.yaml", tokens="off" if name.startswith("sd401") else "on")


@cache
def well() -> Patient:
    """Two apps with nothing wrong about their files."""
    return patient(ROOT / "tests" / "apps" / "voting.yaml")


def seen(someone: Patient) -> list[Finding]:
    """Everything found but that nothing was asked which runs."""
    return [finding for finding in look(someone) if finding.code != "SD901" or someone.live]


# ── each finding ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_broken_example_is_expected_to_be_something() -> None:
    assert list(EXPECTED) == EXAMPLES


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_broken_example_yields_exactly_its_finding(name: str) -> None:
    (finding,) = seen(example(name))
    assert (finding.code, (finding.severity, finding.place)) == (name[:5].upper(), EXPECTED[name])
    assert finding.remedy


@pytest.mark.parametrize(("code", "severity", "live", "said"), LIVE, ids=[f"{each[0]}-{at}" for at, each in enumerate(LIVE)])
def test_what_runs_and_is_not_well_yields_exactly_its_finding(code: str, severity: Severity, live: Live, said: str) -> None:
    (finding,) = look(replace(well(), live=live))
    assert (finding.code, finding.severity) == (code, severity)
    assert said in finding.place + finding.found
    assert finding.remedy


def test_the_sidecar_of_an_app_that_was_left_out_waits_for_it_and_is_none_to_be_restarted() -> None:
    away, unasked = {"tally": AppHeard("tally", problem="refused")}, {"tally": replace(TALLY, topics=frozenset())}
    left_out = running(apps=away, sidecars=unasked, answering=frozenset({"votes"}), left_out=frozenset({"tally"}))

    assert [(each.code, each.severity) for each in look(replace(well(), live=left_out))] == [("SD508", NOTE)]
    there = replace(left_out, apps={}, answering=frozenset({"tally"}))
    assert [each.code for each in look(replace(well(), live=there))] == ["SD505"], "it is there, and was not asked"


def test_a_system_that_is_well_has_no_findings() -> None:
    assert look(replace(well(), live=running(relays=[RelaySeen("votes", "votes")]))) == []


def test_every_check_finds_something_in_these_tests() -> None:
    sick = [example(name) for name in EXAMPLES] + [replace(well(), live=live) for _, _, live, _ in LIVE]
    sick.append(patient(BROKEN / "sd403-not-named" / "dapr.yaml", found=None))
    idle = [check.__name__ for check in CHECKS if not any(list(check(each)) for each in sick)]
    assert idle == []


def test_every_code_is_found_in_these_tests() -> None:
    assert {name[:5].upper() for name in EXPECTED} | {each[0] for each in LIVE} | {"SD502"} == set(CODES)


def test_no_usable_daprd_is_said_with_those_passed_over() -> None:
    refused = Refused(Path("/opt/daprd"), "expected version 1.18.x, found 1.9.0.")
    (finding,) = seen(patient(ROOT / "dapr.yaml", found=None, refused=[refused]))
    assert (finding.code, finding.severity, finding.remedy) == ("SD502", ERROR, "make setup")
    assert "found 1.9.0" in finding.found


def test_the_version_of_the_program_counts_where_no_sidecar_runs() -> None:
    (finding,) = seen(patient(ROOT / "dapr.yaml", found=replace(SOUND, version="1.15.0")))
    assert (finding.code, finding.severity, finding.place) == ("SD501", WARNING, "/opt/daprd")


def test_code_that_is_older_than_what_is_live_is_to_be_deployed_and_not_to_rebuild() -> None:
    (finding,) = seen(replace(well(), live=running(read_models=[replace(MODEL, built=3)])))
    assert (finding.code, finding.remedy) == ("SD701", "Deploy version 3.")


def test_a_silent_subscription_of_an_inbox_is_an_error() -> None:
    inbox = replace(example("sd301-no-retry"), live=sidecar(topics=frozenset()))
    assert [each.severity for each in look(inbox, {"SD505"})] == [ERROR]


def test_ports_of_a_system_that_runs_are_its_own() -> None:
    taken = {("tally", "appPort"): 18201}
    assert look(replace(well(), live=running(taken=taken))) == []
    assert look(replace(well(), live=running(taken=taken, runs=False))) == []


def test_apps_in_one_process_need_no_sidecars() -> None:
    (finding,) = look(replace(well(), live=sidecar(problem="Connection refused")), {"SD503"})
    assert finding.severity is ERROR
    (finding,) = look(replace(well(), live=replace(sidecar(problem="Connection refused"), runs=False)))
    assert (finding.code, finding.severity) == ("SD901", NOTE)


def test_apps_in_one_process_keep_their_rows_in_it() -> None:
    alone = running(runs=False, sidecars={}, read_models=[replace(MODEL, built=None)])
    assert [each.code for each in look(replace(well(), live=alone), {"SD702"})] == []
    assert [each.code for each in look(replace(well(), live=replace(alone, runs=True)), {"SD702"})] == ["SD702"]


def test_a_broker_is_not_missed_by_apps_in_one_process() -> None:
    away = [BrokerSeen("broker", REDIS, problem="Connection refused", away=True)]
    found = look(replace(well(), live=running(runs=False, sidecars={}, brokers=away)))
    assert {(each.code, each.severity) for each in found} == {("SD901", NOTE)}


def test_where_nobody_answers_nothing_is_missing() -> None:
    gone = {name: AppHeard(name, problem="Connection refused") for name in ("votes", "tally")}
    silent = {name: SidecarSeen(name, problem="Connection refused") for name in ("votes", "tally")}
    assert look(replace(well(), live=Live(apps=gone, sidecars=silent))) == []


def test_what_is_frozen_in_a_system_that_speaks_is_its_own() -> None:
    stuck = {"votes": AppHeard("votes", problem="timed out", frozen=True)}
    live = running(runs=False, apps=stuck, taken={("votes", "appPort"): 18101})
    assert [each.code for each in look(replace(well(), live=live))] == ["SD510"]
    assert [each.code for each in look(replace(well(), live=Live(apps=stuck, taken=live.taken)))] == ["SD801"]


@pytest.mark.parametrize(
    ("name", "live"),
    [
        ("votes", running(apps={"votes": AppHeard("votes", problem="Connection refused")})),
        ("votes", running(apps={"votes": AppHeard("votes", problem="timed out", frozen=True)})),
        ("tally/daprd", sidecar(problem="Connection refused")),
        ("broker", broker(REDIS, problem="Connection refused", away=True)),
    ],
)
def test_the_remedy_is_the_line_that_starts_it(name: str, live: Live) -> None:
    (finding,) = look(replace(well(), live=replace(live, starts={name: "cd /there && start it"})))
    assert "cd /there && start it" in finding.remedy


def test_open_doors_are_notes_while_only_this_machine_can_reach_them(tmp_path: Path) -> None:
    for name in ("sd402-no-scopes", "sd402-no-publishing-scopes", "sd401-tokens-off"):
        shutil.copytree(BROKEN / name, tmp_path / name)
        file = tmp_path / name / "dapr.yaml"
        file.write_text(file.read_text().replace("0.0.0.0", "127.0.0.1"))
        (finding,) = seen(patient(file, tokens="off" if name.startswith("sd401") else "on"))
        assert (finding.code, finding.severity) == (name[:5].upper(), NOTE)


def test_tokens_that_somebody_gives_are_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAPR_API_TOKEN", "a")
    monkeypatch.setenv("APP_API_TOKEN", "b")
    assert seen(patient(BROKEN / "sd401-tokens-off" / "dapr.yaml", tokens="off")) == []


def test_a_component_of_many_apps_is_reported_once() -> None:
    assert len(example("sd201-trimmed-by-length").apps) == 2
    assert len(seen(example("sd201-trimmed-by-length"))) == 1


def test_a_policy_that_is_in_force_by_its_name_counts_as_a_retry(tmp_path: Path) -> None:
    shutil.copytree(BROKEN / "sd302-retry-ends", tmp_path / "named")
    page = tmp_path / "named" / "components" / "resiliency.yaml"
    text = page.read_text().replace("deliver:", "DefaultRetryPolicy:").replace("maxRetries: 3", "maxRetries: -1")
    page.write_text(text[: text.index("  targets:")])
    assert seen(patient(tmp_path / "named" / "dapr.yaml")) == []


def test_a_retry_that_names_a_policy_which_is_not_there_is_none(tmp_path: Path) -> None:
    shutil.copytree(BROKEN / "sd302-retry-ends", tmp_path / "unnamed")
    page = tmp_path / "unnamed" / "components" / "resiliency.yaml"
    page.write_text(page.read_text().replace("retry: deliver", "retry: elsewhere"))
    (finding,) = seen(patient(tmp_path / "unnamed" / "dapr.yaml"))
    assert (finding.code, finding.place) == ("SD301", "components/resiliency.yaml:15")


# ── what the repository ships ────────────────────────────────────────────────────────────────────────────────────────


def test_the_configuration_of_the_repository_has_nothing_wrong() -> None:
    assert seen(patient(ROOT / "dapr.yaml")) == []


@pytest.mark.parametrize("folder", ["brokers/redis", "brokers/kafka", "brokers/jetstream", "brokers/rabbitmq", "inbox"])
def test_every_folder_of_components_that_is_shipped_has_nothing_wrong(folder: str, tmp_path: Path) -> None:
    text = (ROOT / "dapr.yaml").read_text()
    follow = '\n    SIDESTREAM_FOLLOW: inbox\n    PYTHONUNBUFFERED: "1"' if folder == "inbox" else '\n    PYTHONUNBUFFERED: "1"'
    text = text.replace("./components]", f"{ROOT}/components/{folder}]").replace('\n    PYTHONUNBUFFERED: "1"', follow)
    (tmp_path / "dapr.yaml").write_text(text.replace("./components/configuration", f"{ROOT}/components/configuration"))
    someone = patient(tmp_path / "dapr.yaml")
    assert any(each.keeps_an_inbox for each in someone.apps) == (folder in {"inbox", "brokers/rabbitmq"})
    assert seen(someone) == []


# ── the page ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_page_has_a_section_for_every_code_with_its_meaning_and_its_remedy() -> None:
    text = (ROOT / "docs" / "doctor.md").read_text()
    sections = re.findall(r"^### (SD\d{3})\n\n\*\*(.+?)\.\*\* (.+?)\n\n\*\*Fix\.\*\* (.+?)(?=\n\n#|\Z)", text, re.MULTILINE | re.DOTALL)
    assert {code: title for code, title, _, _ in sections} == CODES
    assert [code for code, *_ in sections] == sorted(CODES)
    assert all(len(why) > 40 and len(fix) > 10 for _, _, why, fix in sections)
    assert re.findall(r"^### (.+)$", text, re.MULTILINE) == sorted(CODES)


def test_a_finding_names_its_section() -> None:
    (finding,) = seen(example("sd101-health-check"))
    assert finding.page == "docs/doctor.md#sd101"
