"""`sidestream projections` and `dead-letters` on a real broker, beside no app at all."""

import asyncio
import contextlib
import json
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis
from typer.testing import CliRunner

import events
from events.votes import VoteCast
from sidestream.cli.main import root
from sidestream.errors import ConfigurationError
from sidestream.event import Counted, NewEvent, encode_event
from sidestream.launcher.broker import Broker
from sidestream.launcher.folder import SystemFolder
from sidestream.launcher.resources import moved
from tests.integration.sidestream_program import sidestream
from tests.parts import REPOSITORY
from tests.waiting import until

VOTES = 300
PROGRAM = str(REPOSITORY / ".venv" / "bin" / "sidestream")
BAD = b'{"specversion":"1.0","id":"bad","source":"/x","type":"vote.cast","subject":"vote-bad","data":{"poll":7}}'


class System:
    """A folder as `sidestream up` leaves it, with votes in the log and nothing built yet."""

    def __init__(self, folder: Path, broker: Broker) -> None:
        self.place = SystemFolder(folder)
        folder.mkdir()
        self.place.write_secrets(broker.address)
        moved(REPOSITORY / "components", self.place.resources / "0", self.place.secrets)
        self.client = redis.Redis(port=broker.port)

    def vote(self, count: int) -> None:
        registry = events.registry()
        for number in range(1, count + 1):
            data = VoteCast(poll="lunch", option=f"o{number % 3}", voter=f"v{number}")
            event = registry.new_event(data, id=f"{number:05}", subject=f"vote-{number}", time="2026-11-20T09:00:00Z")
            self.client.xadd("votes", {"data": encode_event(event, Counted("w.1", number)), "metadata": "{}"})

    def record(self, wire: bytes) -> None:
        self.client.xadd("votes", {"data": wire})

    def vote_fast(self, count: int) -> None:
        """Record votes of one voter each, many a round trip."""
        pipeline = self.client.pipeline(transaction=False)
        for number in range(1, count + 1):
            data = msgspec.json.encode({"poll": "lunch", "option": f"o{number % 3}", "voter": f"v{number}"})
            event = NewEvent(
                topic="votes", id=f"{number:07}", source="/services/votes", type="vote.cast", data=data, subject=f"vote-{number}"
            )
            pipeline.xadd("votes", {"data": encode_event(event, Counted("w.1", number))})
            if number % 10_000 == 0:
                pipeline.execute()
        pipeline.execute()

    def rows(self) -> dict[str, int]:
        """Return how many rows each generation has."""
        (listed,) = self.json("projections", "list", "tally")
        return {each["generation"]: each["rows"] for each in listed["generations"]}

    def words(self, *words: str) -> list[str]:
        return [*words, "-f", str(REPOSITORY / "dapr.yaml"), "--data", str(self.place.path)]

    def run(self, *words: str, code: int = 0) -> str:
        result = CliRunner().invoke(root, self.words(*words))
        assert result.exit_code == code, (result.output, result.exception)
        return result.stdout

    def json(self, *words: str, code: int = 0) -> Any:
        return json.loads(self.run(*words, "--json", code=code))


@pytest.fixture
def system(tmp_path: Path, broker: Broker) -> Iterator[System]:
    system = System(tmp_path / "system", broker)
    yield system
    system.client.close()


def status(system: System, code: int = 0) -> dict[str, Any]:
    found = system.json("projections", "status", "tally", code=code)
    return {line["generation"]: line for line in found}


def test_before_the_first_generation_the_verbs_say_so(system: System) -> None:
    assert [line["projection"] for line in system.json("projections", "list")] == [
        "shipping",
        "tally",
        "asset_catalog",
        "activity",
        "order_book",
    ]
    assert "Start its app" in status(system, code=1)[""]["problem"]
    assert system.json("dead-letters", "list") == []
    assert system.json("dead-letters", "retry") == []


def test_a_rebuild_applies_the_log_and_moves_the_pointer(system: System) -> None:
    system.vote(VOTES)
    first = system.json("projections", "rebuild", "tally")
    second = system.json("projections", "rebuild", "tally")
    assert (first["rebuilt"]["before"], second["rebuilt"]["before"]) == ("", first["rebuilt"]["generation"])
    assert second["rebuilt"]["outcome"]["applied"] == VOTES
    line = status(system)[second["rebuilt"]["generation"]]
    assert (line["live"], line["behind"], line["applied"]) == (True, 0, line["end"])


def test_a_rebuild_is_verified_and_the_list_shows_both_generations(system: System) -> None:
    system.vote(VOTES)
    system.json("projections", "rebuild", "tally")
    second = system.json("projections", "rebuild", "tally")
    assert second["rebuilt"]["comparison"]["differing"] == 0
    assert second["rebuilt"]["comparison"]["rows"] >= VOTES
    (listed,) = system.json("projections", "list", "tally")
    assert (listed["live"], listed["previous"]) == ("g2", "g1")
    one, other = listed["generations"]
    assert (one["state"], one["previous"], other["live"]) == ("ready", True, True)
    assert one["rows"] == other["rows"] > VOTES
    assert one["applied"] == other["applied"]
    assert min(one["bytes"], other["bytes"]) > 10_000
    assert "ready (rollback)" in system.run("projections", "list")


def test_a_row_that_somebody_changed_fails_the_rebuild_and_is_shown(system: System) -> None:
    system.vote(VOTES)
    system.json("projections", "rebuild", "tally")
    with closing(sqlite3.connect(system.place.data / "read-models" / "tally" / "g1.sqlite")) as database, database:
        database.execute("UPDATE total SET votes = 999 WHERE option = 'o1'")
    assert system.json("projections", "verify", "tally", code=1)["comparison"]["differing"] == 1
    said = system.run("projections", "rebuild", "tally", code=1)
    assert "votes=999" in said
    assert "votes=100" in said
    assert "g1 stays live" in said
    (listed,) = system.json("projections", "list", "tally")
    assert (listed["live"], [each["state"] for each in listed["generations"]]) == ("g1", ["ready", "held"])
    held = listed["generations"][1]["generation"]
    assert system.json("projections", "diff", "tally", "g1", held, code=1)["comparison"]["shown"][0]["table"] == "total"
    moved = system.json("projections", "switch", "tally", held, "--accept")
    assert moved["switched"] == {"live": held, "before": "g1", "stale_since": ""}
    assert system.json("projections", "rollback", "tally")["switched"]["live"] == "g1"
    assert system.json("projections", "drop", "tally", held) == {"projection": "tally", "dropped": held}


def test_a_dry_run_tells_and_writes_nothing(system: System) -> None:
    system.vote(VOTES)
    before = system.json("projections", "rebuild", "tally", "--dry-run")["estimate"]
    assert (before["events"], "sample" in before["rate_from"]) == (VOTES, True)
    assert not list((system.place.data / "read-models" / "tally").glob("g*"))
    system.json("projections", "rebuild", "tally")
    after = system.json("projections", "rebuild", "tally", "--dry-run")["estimate"]
    assert (after["rate_from"], after["bytes_from"]) == ("building g1", "the size of g1")
    assert after["bytes"] > 10_000


def test_the_model_as_of_then_is_built_beside(system: System) -> None:
    system.vote(VOTES)
    entries: Any = system.client.xrange("votes", count=10)
    tenth = entries[-1][0].decode()
    system.json("projections", "rebuild", "tally")
    made = system.json("projections", "rebuild", "tally", "--until", f"votes={tenth}")["scratch"]
    assert made["outcome"]["applied"] == 10
    assert made["applied"] == {"votes": tenth}
    assert system.json("projections", "rebuild", "tally", "--until", "2001-01-01T00:00:00Z")["scratch"]["outcome"]["applied"] == 0
    system.json("projections", "diff", "tally", "g1", made["generation"], code=1)


@pytest.mark.parametrize("moment", ["yesterday", "2026-11-20T09:00:00", "orders=1-0", "votes=1-0, orders=2-0", "votes=xyz", "votes="])
def test_a_moment_that_is_none_is_refused_before_anything_is_made(system: System, moment: str) -> None:
    with pytest.raises(ConfigurationError, match="--until: expected"):
        CliRunner().invoke(root, system.words("projections", "rebuild", "tally", "--until", moment), catch_exceptions=False)
    (listed,) = system.json("projections", "list", "tally")
    assert listed["generations"] == []


async def interrupted(system: System) -> tuple[int, str]:
    """Rebuild and press Ctrl-C in the middle; return the exit code and what was said. One that ended before that is not the one."""
    ended = []
    for _ in range(10):
        program = await asyncio.create_subprocess_exec(
            PROGRAM, *system.words("projections", "rebuild", "tally"), stderr=asyncio.subprocess.PIPE
        )
        await until(lambda: program.returncode is not None or "building" in states(system).values(), seconds=60)  # noqa: B023
        with contextlib.suppress(ProcessLookupError):
            program.send_signal(signal.SIGINT)
        _, said = await program.communicate()
        ended.append((program.returncode or 0, said.decode()))
        if "building" in states(system).values():
            return ended[-1]
    raise AssertionError(f"none was interrupted in the middle: {ended}")


def states(system: System) -> dict[str, str]:
    (listed,) = system.json("projections", "list", "tally")
    return {each["generation"]: each["state"] for each in listed["generations"]}


async def test_a_rebuild_that_is_interrupted_says_what_is_left_and_what_to_do(system: System) -> None:
    system.vote_fast(120_000)

    code, said = await interrupted(system)

    (left,) = (name for name, state in states(system).items() if state == "building")
    assert code == 130
    assert len(said.splitlines()) == 1
    assert f"tally: interrupted. {left} is unfinished and no query reads it" in said
    assert f"or end it: sidestream projections drop tally {left}" in said
    system.run("projections", "drop", "tally", left)
    assert left not in states(system)


async def test_a_rebuild_that_is_killed_serves_nothing_and_the_next_one_is_whole(system: System) -> None:
    """The program itself, with kill -9, while another one is refused."""
    system.vote_fast(120_000)
    first = await asyncio.create_subprocess_exec(
        PROGRAM, *system.words("projections", "rebuild", "tally"), stderr=asyncio.subprocess.DEVNULL
    )
    await until(lambda: "g1" in system.rows(), seconds=30)
    first.send_signal(signal.SIGSTOP)
    second = await asyncio.create_subprocess_exec(
        PROGRAM, *system.words("projections", "rebuild", "tally", "--json"), stderr=asyncio.subprocess.PIPE
    )
    _, refused = await second.communicate()
    first.kill()
    await first.wait()
    assert second.returncode == 1
    assert f"process {first.pid}, since" in json.loads(refused.decode().splitlines()[-1])["error"]["message"]
    (listed,) = system.json("projections", "list", "tally")
    assert (listed["live"], [each["state"] for each in listed["generations"]]) == ("", ["building"])
    done = system.json("projections", "rebuild", "tally")["rebuilt"]
    assert (done["generation"], done["live"]) == ("g1", True)
    assert system.rows() == {"g1": 120_000 + 3 + 1}


def test_the_status_counts_how_far_a_generation_is_behind(system: System) -> None:
    system.vote(5)
    system.json("projections", "rebuild", "tally")
    system.vote(7)
    (line,) = status(system).values()
    assert (line["behind"], line["behind_more"]) == (7, False)


def test_a_parked_event_is_listed_shown_and_tried_again(system: System) -> None:
    system.vote(5)
    system.record(BAD)
    assert system.json("projections", "rebuild", "tally", code=1)["rebuilt"]["outcome"]["parked"] == 1
    assert next(iter(status(system, code=1).values()))["parked_events"] == 1
    (letter,) = system.json("dead-letters", "list", "tally")
    assert (letter["event_id"], letter["wire"]) == ("bad", BAD.decode())
    (shown,) = system.json("dead-letters", "show", "tally", "bad")
    assert {name: shown[name] for name in letter} == letter
    assert "poll" in system.run("dead-letters", "show", "tally", "bad")
    (tried,) = system.json("dead-letters", "retry", "tally", code=1)
    assert tried["result"] == {"tried": 1, "freed": 0, "applied": 0}
    (letter,) = system.json("dead-letters", "list", "tally")
    assert letter["attempts"] == 2


def test_an_entry_without_an_event_is_a_dead_letter(system: System) -> None:
    system.client.xadd("votes", {"nothing": "here"})
    system.json("projections", "rebuild", "tally", code=1)
    (letter,) = system.json("dead-letters", "list", "tally")
    assert (letter["reason"], letter["wire"]) == ("unreadable-entry", "")


def test_what_is_not_there_is_said(system: System) -> None:
    system.vote(1)
    system.json("projections", "rebuild", "tally")
    system.run("dead-letters", "show", "tally", "nope", code=1)
    assert "which has shipping, tally" in str(CliRunner().invoke(root, ["projections", "rebuild", "nope"]).exception)


# ── a new version of the code ────────────────────────────────────────────────────────────────────────────────────────


def as_of_an_older_version(system: System, *names: str) -> None:
    """Note of generations that they were built by the version before the code's."""
    with closing(sqlite3.connect(system.place.data / "read-models" / "tally" / "catalog.sqlite")) as catalog, catalog:
        catalog.executemany("UPDATE generations SET version = version - 1 WHERE number = ?", [(name.removeprefix("g"),) for name in names])


def test_what_programs_of_an_older_version_answer_from_is_kept_said_and_dropped_by_the_verb(system: System) -> None:
    system.vote(5)
    system.run("projections", "rebuild", "tally")
    as_of_an_older_version(system, "g1")
    why = (
        "g1 is kept for programs of version 0, which answer from it. When none of them runs any more: sidestream projections drop tally g1"
    )
    assert why in system.run("projections", "rebuild", "tally")
    assert why in system.run("projections", "rebuild", "tally")
    assert "Dropped: g2." in system.run("projections", "rebuild", "tally")
    assert why in system.run("projections", "status", "tally")
    assert [why in line["kept"] for line in status(system).values()] == [True, False, False]
    (listed,) = system.json("projections", "list", "tally")
    assert [(each["generation"], each["kept_for"]) for each in listed["generations"]] == [("g1", 0), ("g3", None), ("g4", None)]
    assert "ready (kept for version 0)" in system.run("projections", "list", "tally")
    system.run("projections", "drop", "tally", "g1")
    assert "is kept" not in system.run("projections", "status", "tally") + system.run("projections", "rebuild", "tally")


def test_code_that_is_older_than_what_is_live_is_not_told_to_rebuild(system: System) -> None:
    system.vote(5)
    system.run("projections", "rebuild", "tally")
    with closing(sqlite3.connect(system.place.data / "read-models" / "tally" / "catalog.sqlite")) as catalog, catalog:
        catalog.execute("UPDATE generations SET version = 9")
    said = status(system, code=1)["g1"]["problem"]
    assert "deploy version 9" in said
    assert "sidestream projections rebuild" not in said


def test_accepting_a_new_version_does_not_cover_lost_events_and_the_way_out_is_said(system: System) -> None:
    system.vote(VOTES)
    system.run("projections", "rebuild", "tally")
    as_of_an_older_version(system, "g1")
    system.client.delete("votes")
    system.vote(2)
    for held in ("g2", "g3"):
        said = system.run("projections", "rebuild", "tally", "--accept", code=1)
        assert f"{held} lacks " in said
        assert "the log has lost them" in said
        assert f"give these events up for good: sidestream projections switch tally {held} --accept" in said
        assert "g1 stays live" in said
        assert system.rows()["g1"] > VOTES
    assert system.json("projections", "switch", "tally", "g3", "--accept")["switched"]["live"] == "g3"


# ── used wrongly ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("words", [("diff", "g1", "g99"), ("diff", "g99", "g1"), ("drop", "g99"), ("switch", "g99")])
async def test_a_generation_that_is_not_there_is_used_wrongly_and_the_list_is_named(system: System, words: tuple[str, ...]) -> None:
    system.vote(1)
    system.run("projections", "rebuild", "tally")
    verb, *names = words
    ended = await sidestream(*system.words("projections", verb, "tally", *names), code=2)
    assert "tally: expected one of g1, found 'g99'. Correct the name: `sidestream projections list tally`" in ended.err
    assert str(system.place.path) not in ended.err


@pytest.mark.parametrize("verb", ["rebuild", "verify"])
async def test_a_broker_that_does_not_run_is_said_with_what_starts_it(system: System, broker: Broker, verb: str) -> None:
    await broker.stop()
    ended = await sidestream(*system.words("projections", verb, "tally"), code=1)
    assert broker.address in ended.err
    assert "`sidestream up` starts everything, `sidestream broker start` the embedded broker alone" in ended.err
