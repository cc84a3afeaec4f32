"""`sidestream dead-letters edit | skip | undo | retry`, and the status of projections, on a real broker beside no app."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from sidestream.cli.main import root
from sidestream.cli.status import status
from sidestream.launcher.broker import Broker
from tests.integration.test_projection_verbs import BAD, System
from tests.parts import REPOSITORY

WHO = ("--who", "ann", "--why", "the form was broken")
GOOD = b'{"poll":"lunch","option":"o1","voter":"v9"}'


@pytest.fixture
def system(tmp_path: Path, broker: Broker) -> Iterator[System]:
    """Five votes, one that cannot be read by the rule, and an entry that is no event; the first generation built."""
    system = System(tmp_path / "system", broker)
    system.vote(5)
    system.record(BAD)
    system.record(b"{")
    system.json("projections", "rebuild", "tally", code=1)
    yield system
    system.client.close()


def letters(system: System) -> list[Any]:
    found: list[Any] = system.json("dead-letters", "list", "tally")
    return found


def refused(system: System, *words: str) -> str:
    result = CliRunner().invoke(root, [*words, "-f", str(REPOSITORY / "dapr.yaml"), "--data", str(system.place.path)])
    assert result.exit_code != 0
    return result.output + str(result.exception)


def test_an_edited_and_a_skipped_letter_are_gone_and_a_rebuild_meets_both(system: System) -> None:
    entry = next(f"{letter['topic']}@{letter['position']}" for letter in letters(system) if letter["reason"] == "unreadable-entry")
    edited = system.json("dead-letters", "edit", "tally", "bad", "--set", GOOD.decode(), *WHO)
    assert (edited["decision"]["kind"], edited["decision"]["who"]) == ("edit", "ann")
    assert edited["decision"]["original"] == BAD.decode()
    assert "1 events left" in system.run("dead-letters", "skip", "tally", entry, *WHO)
    assert letters(system) == []
    rebuilt = system.json("projections", "rebuild", "tally")["rebuilt"]["outcome"]
    assert (rebuilt["applied"], rebuilt["parked"]) == (6, 0)
    made = system.json("dead-letters", "decisions", "tally")
    assert [(each["number"], each["kind"], each["why"]) for each in made] == [(1, "edit", WHO[3]), (2, "skip", WHO[3])]


def test_an_edit_is_read_from_a_file_or_is_a_whole_event(system: System, tmp_path: Path) -> None:
    file = tmp_path / "data.json"
    file.write_bytes(GOOD)
    system.run("dead-letters", "edit", "tally", "bad", "--with", str(file), *WHO)
    entry = next(f"{letter['topic']}@{letter['position']}" for letter in letters(system))
    file.write_bytes(BAD.replace(b'"bad"', b'"whole"').replace(b'{"poll":7}', GOOD.replace(b"v9", b"v10")))
    system.run("dead-letters", "edit", "tally", entry, "--event", str(file), *WHO)
    assert letters(system) == []


def test_an_edit_that_cannot_help_is_refused_before_it_is_recorded(system: System, tmp_path: Path) -> None:
    file = tmp_path / "event.json"
    file.write_bytes(BAD.replace(b'"bad"', b'"other"'))
    assert "tally cannot read the event" in refused(system, "dead-letters", "edit", "tally", "bad", "--set", '{"poll":8}', *WHO)
    assert "expected 'bad' as in the original" in refused(system, "dead-letters", "edit", "tally", "bad", "--event", str(file), *WHO)
    assert "Give exactly one" in refused(system, "dead-letters", "edit", "tally", "bad", *WHO)
    assert "expected who and why" in refused(system, "dead-letters", "skip", "tally", "bad", "--who", " ", "--why", "x")
    assert "expected one parked event nope, found none" in refused(system, "dead-letters", "skip", "tally", "nope", *WHO)
    assert system.json("dead-letters", "decisions", "tally") == []


def test_an_undone_skip_is_shown_and_holds_from_the_next_rebuild_on(system: System) -> None:
    system.run("dead-letters", "skip", "tally", "bad", *WHO)
    assert "holds from the next rebuild on" in system.run("dead-letters", "undo", "tally", "bad", *WHO)
    system.json("projections", "rebuild", "tally", code=1)  # it differs from the live one, which skipped: nobody switches by itself
    system.run("projections", "switch", "tally", "g2", "--accept")
    shown = system.run("dead-letters", "show", "tally", "bad")
    assert shown.count("by ann: the form was broken") == 2


def test_one_event_is_tried_again(system: System) -> None:
    (tried,) = system.json("dead-letters", "retry", "tally", "bad", code=1)
    assert tried["result"] == {"tried": 1, "freed": 0, "applied": 0}
    attempts = {letter["reason"]: letter["attempts"] for letter in letters(system)}
    assert attempts == {"unreadable-event": 2, "unreadable-entry": 1}


# ── the status ───────────────────────────────────────────────────────────────────────────────────────────────────────


def look(system: System, *words: str) -> tuple[int, str]:
    program = typer.Typer()
    program.command()(status)
    result = CliRunner().invoke(program, [*words, "-f", str(REPOSITORY / "dapr.yaml"), "--data", str(system.place.path)])
    return result.exit_code, result.output


def test_the_status_tells_lag_and_what_is_parked(system: System) -> None:
    system.vote(2)
    code, printed = look(system, "tally", "--json")
    (line,) = json.loads(printed)
    assert (code, line["behind"], line["parked_events"]) == (1, 2, 2)
    assert line["oldest_seconds"] >= line["lag_seconds"] >= 0
    assert "2 events are parked: sidestream dead-letters list tally" in line["problem"]
    assert "2 of 2 streams" in look(system, "tally")[1]


async def test_the_status_says_that_the_log_is_away(system: System, broker: Broker) -> None:
    await broker.stop()
    code, printed = look(system, "tally")
    assert code == 1
    assert "log away" in printed
    assert "the log cannot be read; queries go on" in printed
