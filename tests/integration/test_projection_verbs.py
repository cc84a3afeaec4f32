"""`sidestream projections` and `dead-letters` on a real broker, beside no app at all."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from typer.testing import CliRunner

import events
from events.votes import VoteCast
from sidestream.cli.main import root
from sidestream.event import Counted, encode_event
from sidestream.launcher.broker import Broker
from sidestream.launcher.folder import SystemFolder
from sidestream.launcher.resources import moved
from tests.parts import REPOSITORY

VOTES = 300
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

    def run(self, *words: str, code: int = 0) -> str:
        result = CliRunner().invoke(root, [*words, "-f", str(REPOSITORY / "dapr.yaml"), "--data", str(self.place.path)])
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
    assert [line["projection"] for line in system.json("projections", "list")] == ["tally", "asset_catalog", "activity"]
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
    assert system.json("dead-letters", "show", "tally", "bad") == [letter]
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
    assert "which has tally" in str(CliRunner().invoke(root, ["projections", "rebuild", "nope"]).exception)
