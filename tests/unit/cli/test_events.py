"""`sidestream events` over an event store: what is listed, shown, followed and handed over."""

import json
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from time import monotonic

import pytest
from typer.testing import CliRunner, Result

from sidestream.adapters.memory_log import MemoryLog
from sidestream.adapters.sqlite_events import SqliteEventStore
from sidestream.adapters.sqlite_inbox import SqliteInbox
from sidestream.cli.events import app
from sidestream.cli.events_logs import Opened, is_position, stretch_of
from sidestream.cli.events_printing import Looking, print_events, printable, recorded
from sidestream.cli.events_replay import paced
from sidestream.cli.events_sending import Subscriber, address_of
from sidestream.cli.events_showing import looked_up
from sidestream.cli.events_trace import told
from sidestream.errors import ConfigurationError
from sidestream.event import NewEvent
from sidestream.launcher.runfile import read
from sidestream.logs.conversations import depth_first
from sidestream.logs.finding import as_found, recorded_order
from sidestream.logs.inbox import arrived
from sidestream.logs.replaying import Marked, NotTaken, marked
from sidestream.ports import Append
from tests.parts import REPOSITORY
from tests.subscriber import Door
from tests.unit.cli.run_files import a_run_file, same_path

__all__ = ["same_path"]

DATA = b'{"big":9007199254740993,"float":1.0,"text":"\xf0\x9f\xa7\xbe"}'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The bridge's store holds ten events of two types; the run file has a projection too."""
    stores = tmp_path / ".sidestream/data/stores"
    stores.mkdir(parents=True)
    with closing(SqliteEventStore(stores / "bridge.sqlite")) as store:
        for at in range(10):
            one = NewEvent(topic="external", id=f"e{at}", source="/till", type=f"till.{at % 2}", data=DATA, subject=f"till-{at % 5}")
            store.append([Append(None, (one,))])
    return a_run_file(tmp_path, "services.bridge", "projections.tally")


def run(*words: str, code: int = 0) -> Result:
    result = CliRunner().invoke(app, list(words))
    assert result.exit_code == code, (result.output, result.exception)
    return result


def listed(file: Path, *words: str) -> list[str]:
    lines = run("list", "--store", "bridge", "-f", str(file), "--json", *words).stdout.splitlines()
    return [json.loads(line)["event"]["id"] for line in lines]


# ── list ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", "0123456789"),
        ("--count 3", "012"),
        ("--count 3 --start last", "789"),
        ("--count 3 --reverse", "210"),
        ("--count 3 --start last --reverse", "987"),
        ("--reverse", "9876543210"),
        ("--start last", "0123456789"),
        ("--count 100 --start last", "0123456789"),
        ("--type till.1", "13579"),
        ("--type till.1 --type till.0 --stream till-3", "38"),
        ("--source /till --since 8", "789"),
        ("--since external=3 --until external=5", "234"),
        ("--until external=start", ""),
        ("--type till.1 --count 2 --start last", "79"),
        ("--source /nobody", ""),
        ("--correlation nobody", ""),
        ("--since 2200-01-01T00:00:00Z", ""),
        ("--until 2200-01-01T00:00:00+01:00 --since 2000-01-01T00:00:00Z", "0123456789"),
    ],
)
def test_the_list_is_what_was_asked_for(file: Path, words: str, expected: str) -> None:
    assert listed(file, *words.split()) == [f"e{number}" for number in expected]


def test_a_line_of_json_has_every_value_as_it_was_written(file: Path) -> None:
    out = run("list", "--store", "bridge", "-f", str(file), "--json", "--count", "1").stdout
    assert DATA.decode() in out
    assert json.loads(out)["position"] == "1"


def test_the_table_has_a_line_for_each_and_says_when_there_is_none(file: Path) -> None:
    lines = run("list", "--store", "bridge", "-f", str(file)).stdout.splitlines()
    assert lines[0].split() == ["position", "recorded", "type", "stream", "version", "number", "id"]
    assert lines[10].split()[0] == "external=10"
    assert lines[10].split()[-2:] == ["10", "e9"]
    nothing = run("list", "--store", "bridge", "-f", str(file), "--type", "none")
    assert (nothing.stdout, nothing.stderr) == ("", "No such event.\n")


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("--since yesterday", "--since: expected a time with its zone"),
        ("--until 2026-11-20T09:30:00", "--until: expected a time with its zone"),
        ("--since other=3", "expected a topic that is looked at, external; found 'other'"),
        ("--since external=x", "expected a position of this log for external"),
        ("--topic nothing", "--topic: expected one of external; found 'nothing', which is empty"),
        ("--inbox tally", "expected --store or --inbox, found both"),
    ],
)
def test_what_cannot_be_looked_for_is_said(file: Path, words: str, problem: str) -> None:
    result = CliRunner().invoke(app, ["list", "--store", "bridge", "-f", str(file), *words.split()])
    assert isinstance(result.exception, ConfigurationError)
    assert problem in str(result.exception)


def test_a_projection_that_follows_the_broker_has_no_inbox(file: Path) -> None:
    result = CliRunner().invoke(app, ["list", "--inbox", "tally", "-f", str(file)])
    assert "expected a projection that keeps an inbox log" in str(result.exception)


def test_an_end_to_count_from_that_is_none_is_told_what_a_position_is_for(file: Path) -> None:
    result = run("list", "--store", "bridge", "-f", str(file), "--start", "1795282295178-0", code=2)
    said = " ".join(re.sub(r"[│|]", " ", result.stderr).split())
    assert "expected first or last, the end that --count counts from; found '1795282295178-0'" in said
    assert "is --since." in said


@pytest.fixture
def inbox(file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same on a broker that keeps no log; two events were delivered to the tally."""
    monkeypatch.setenv("SIDESTREAM_FOLLOW", "inbox")
    monkeypatch.setenv("SIDESTREAM_COMPONENTS", str(REPOSITORY / "components" / "brokers" / "rabbitmq"))
    folder = file.parent / ".sidestream/data/read-models/tally"
    folder.mkdir(parents=True)
    with closing(SqliteInbox(folder / "inbox.sqlite")) as kept:
        kept.append("votes", arrived([b'{"specversion":"1.0","id":"v%d","source":"/s","type":"vote.cast"}' % at for at in range(2)]))
    return file


VERBS = [["list"], ["show", "v1"], ["tail", "--count", "1"], ["trace", "v1"], ["replay", "--to", "http://127.0.0.1:1/"]]


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb[0])
def test_where_the_broker_keeps_no_log_every_verb_says_which_ones_there_are(inbox: Path, verb: list[str]) -> None:
    result = CliRunner().invoke(app, [*verb, "-f", str(inbox)])
    assert isinstance(result.exception, ConfigurationError)
    assert "Say --inbox PROJECTION for what was delivered to one (tally), or --store SERVICE" in str(result.exception)


def test_the_inbox_and_the_store_can_be_traced(inbox: Path) -> None:
    traced = json.loads(run("trace", "v1", "--inbox", "tally", "-f", str(inbox), "--json").stdout)
    assert [(each["id"], each["topic"], each["positions"]) for each in traced["events"]] == [("v1", "votes", ["2"])]
    traced = json.loads(run("trace", "e3", "--store", "bridge", "-f", str(inbox), "--json").stdout)
    assert [(each["id"], each["topic"], each["positions"]) for each in traced["events"]] == [("e3", "external", ["4"])]


@pytest.mark.parametrize(
    ("words", "ids"),
    [("--inbox tally", ["v0", "v1"]), ("--store bridge --since 8", ["e7", "e8", "e9"]), ("--store bridge --after external=9", ["e9"])],
)
def test_the_inbox_and_the_store_can_be_replayed(inbox: Path, door: Door, words: str, ids: list[str]) -> None:
    said = ["replay", "--to", door.url, "-f", str(inbox), *words.split()]
    assert f"{len(ids)} of " in run(*said, "--dry-run").stdout
    assert door.taken == []
    run(*said)
    assert [event["id"] for event in door.taken] == ids
    assert {event["replayed"] for event in door.taken} == {True}


def test_a_bare_position_needs_one_topic() -> None:
    where = Opened(MemoryLog(), ("a", "b"))
    with pytest.raises(ConfigurationError, match="because there are 2 topics"):
        stretch_of(where, since="3")
    with pytest.raises(ConfigurationError, match="Say --since"):
        stretch_of(where, after="2026-11-20T09:30:00Z")
    assert not is_position(where.log, "an id")


def test_nothing_of_an_event_moves_a_terminals_cursor() -> None:
    log = MemoryLog(lambda: 1_732_093_200_123)
    log.record("a", [b'{"id":"\\u001b[2J","source":"/s","type":"x\\u202e","subject":"\\n"}', b"\x1b]0;no event"])
    out: list[str] = []

    class Out:
        write = staticmethod(out.append)

    assert print_events(map(as_found, recorded_order(log, ["a"])), Out()) == 2  # type: ignore[arg-type]
    text = "".join(out)
    assert "\\x1b[2J" in text
    assert text.replace("\n", "").isprintable()
    assert (printable("a\tb"), recorded(1_732_093_200_007)) == ("a\\tb", "2024-11-20T09:00:00.007Z")


# ── show ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("which", ["e4", "5", "external=5"])
def test_an_event_is_shown_by_its_id_or_its_place_as_it_was_written(file: Path, which: str) -> None:
    out = run("show", which, "--store", "bridge", "-f", str(file)).stdout
    assert out.startswith("external=5, recorded ")
    assert '"id": "e4"' in out
    assert '"big": 9007199254740993' in out
    assert '"float": 1.0' in out


@pytest.mark.parametrize("which", ["e99", "99", "external=99", "other=5"])
def test_what_is_not_there_is_exit_code_1(file: Path, which: str) -> None:
    assert "found none" in run("show", which, "--store", "bridge", "-f", str(file), code=1).stderr


def test_duplicates_are_said_and_another_event_under_the_id_is_shown_too() -> None:
    log = MemoryLog()
    twice, other = b'{"id":"1","source":"/s","type":"t"}', b'{"id":"1","source":"/other","type":"t"}'
    log.record("a", [twice, b"no event", other, twice])
    shown = looked_up(Opened(log, ("a",)), "a=2", Looking())
    assert [each.places for each in shown] == [["a=2"]]
    log.record("b", [b'{"id":"x","source":"/s","type":"t"}'] * 3 + [b'{"id":"x","source":"/other","type":"t"}'])
    shown = looked_up(Opened(log, ("a", "b")), "x", Looking())
    assert [each.places for each in shown] == [["b=1", "b=2", "b=3"], ["b=4"]]


# ── trace ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def a_conversation() -> Opened:
    log = MemoryLog()
    log.record("orders", [b'{"id":"o1","source":"/s","type":"order.placed","correlationid":"k","causationid":"a command"}'])
    log.record("stock", [b'{"id":"s1","source":"/s","type":"stock.reserved","correlationid":"k","causationid":"o1"}'])
    log.record(
        "orders", [b'{"id":"o2","source":"/s","type":"order.placed","correlationid":"other"}', b'{"id":"alone","source":"/s","type":"t"}']
    )
    log.record("stock", [b'{"id":"s2","source":"/s","type":"t","correlationid":"alone","causationid":"alone"}'])
    return Opened(log, ("orders", "stock"))


@pytest.mark.parametrize(
    ("asked", "correlation", "ids"),
    [
        ("k", "k", ["o1", "s1"]),
        ("s1", "k", ["o1", "s1"]),
        ("o2", "other", ["o2"]),
        ("alone", "alone", ["alone", "s2"]),
        ("s2", "alone", ["alone", "s2"]),
    ],
)
def test_a_conversation_is_found_by_its_id_or_by_any_of_its_events(asked: str, correlation: str, ids: list[str]) -> None:
    found, roots = told(a_conversation(), asked)
    assert (found, [each.event.id for each in depth_first(roots)]) == (correlation, ids)


def test_a_conversation_that_nobody_had_is_none() -> None:
    assert told(a_conversation(), "nobody")[1] == ()


# ── replay ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def door() -> Iterator[Door]:
    with closing(Door()) as door:
        yield door


TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
EVENT = marked(b'{"id":"1","source":"/s","type":"t","traceparent":"%s"}' % TRACE.encode(), "r")


def hand_over(door: Door, attempts: int = 3) -> None:
    with closing(Subscriber(door.url, "r", attempts=attempts, pause=0.001)) as subscriber:
        subscriber(EVENT)


def test_an_event_is_handed_over_as_a_cloudevent_with_its_marks_in_headers_too(door: Door) -> None:
    hand_over(door)
    (headers,) = door.headers
    assert headers["content-type"] == "application/cloudevents+json"
    assert (headers["sidestream-replayed"], headers["sidestream-replay-id"]) == ("true", "r")
    (event,) = door.taken
    assert event["traceparent"] == headers["traceparent"]
    assert event["replayof"] == TRACE
    assert TRACE[3:35] not in event["traceparent"]


@pytest.mark.parametrize("answer", [(503, b"busy"), (404, b""), (302, b""), (200, b'{"status":"RETRY"}')])
def test_what_is_not_taken_is_tried_again(door: Door, answer: tuple[int, bytes]) -> None:
    door.answers = [answer, answer]
    hand_over(door)
    assert len(door.taken) == 1


def test_an_event_is_not_tried_for_ever(door: Door) -> None:
    door.answers = [(500, b"broken")] * 3
    with pytest.raises(NotTaken, match=r"expected 2xx, found 500: 'broken'"):
        hand_over(door)
    assert (door.answers, door.taken) == ([], [])


def test_what_a_subscriber_drops_it_has_taken(door: Door) -> None:
    door.answers = [(200, b'{"status":"DROP"}'), (500, b"")]
    hand_over(door)
    assert door.answers == [(500, b"")]


def test_nobody_there_is_said(door: Door) -> None:
    with (
        closing(Subscriber("http://127.0.0.1:1/", "r", attempts=2, pause=0.001)) as subscriber,
        pytest.raises(NotTaken, match="127.0.0.1:1"),
    ):
        subscriber(EVENT)


def test_a_rate_is_kept() -> None:
    taken: list[Marked] = []
    slow = paced(taken.append, 50)
    begin = monotonic()
    for _ in range(6):
        slow(EVENT)
    assert len(taken) == 6
    assert monotonic() - begin >= 0.09


def test_an_app_is_found_by_its_name_and_a_projection_is_refused(file: Path) -> None:
    apps = read(file).apps
    assert address_of("bridge", "/events", apps) == "http://127.0.0.1:8000/events"
    assert address_of("http://10.0.0.1:8001/x", "", apps) == "http://10.0.0.1:8001/x"
    for projection in ("tally", "http://127.0.0.1:8001/inbox/votes", "http://localhost:8001/"):
        with pytest.raises(ConfigurationError, match="tally is a projection.*projections rebuild tally"):
            address_of(projection, "/events", apps)


@pytest.mark.parametrize("target", ["nobody", "ftp://x/", "http://", "http://[", "http://h:99999/"])
def test_what_is_neither_an_app_nor_an_address_is_refused(file: Path, target: str) -> None:
    with pytest.raises(ConfigurationError, match="--to: expected"):
        address_of(target, "/events", read(file).apps)
