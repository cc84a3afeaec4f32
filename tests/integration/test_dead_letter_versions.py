"""`sidestream dead-letters` beside a live generation of another version, and of what is not parked. On a real broker."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from projections.tally.projection import Tally
from sidestream.cli.declared import declared, named
from sidestream.cli.main import root
from sidestream.errors import ConfigurationError
from sidestream.launcher.broker import Broker
from sidestream.rebuilding.rebuild import rebuild
from tests.integration.test_projection_verbs import BAD, System
from tests.parts import REPOSITORY

WHO = ("--who", "ann", "--why", "the form was broken")


class TallyBefore(Tally):
    version = 0


class TallyAfter(Tally):
    version = 2


def rebuilt_by(system: System, projection: Tally) -> str:
    """Build a generation as a checkout of another version does, and make it live whatever differs."""
    with declared(REPOSITORY / "dapr.yaml", system.place.path) as found:
        tally = named(found, "tally")
        with tally.log() as log, tally.read_models() as read_models:
            made = rebuild(projection, tally.registry, log, read_models, lambda: "now", accept=True)
            assert made.live
    return made.generation


@pytest.fixture
def system(tmp_path: Path, broker: Broker) -> Iterator[System]:
    """Five votes, and one that cannot be read by the rule; nothing is built."""
    system = System(tmp_path / "system", broker)
    system.vote(5)
    system.record(BAD)
    yield system
    system.client.close()


def ended(system: System, *words: str) -> Result:
    return CliRunner().invoke(root, system.words("dead-letters", *words))


def refused(system: System, *words: str) -> str:
    """Return what a verb says that was used wrongly."""
    problem = ended(system, *words).exception
    assert isinstance(problem, ConfigurationError), problem
    return str(problem)


# ── another version ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("projection", "way_out"),
    [
        (TallyBefore(), "version 0. Decide and retry from a checkout of version 0, or rebuild first: sidestream projections rebuild tally"),
        (TallyAfter(), "version 2. Decide and retry from a checkout of version 2."),
    ],
    ids=["an older one", "a newer one"],
)
def test_beside_a_generation_of_another_version_only_looking_is_possible(system: System, projection: Tally, way_out: str) -> None:
    rebuilt_by(system, projection)
    (letter,) = system.json("dead-letters", "list", "tally")
    assert [each["event_id"] for each in system.json("dead-letters", "show", "tally", "bad")] == [letter["event_id"]] == ["bad"]
    for verb in (
        ("retry", "tally"),
        ("retry",),
        ("retry", "tally", "bad", "--json"),
        ("skip", "tally", "bad", *WHO),
        ("edit", "tally", "bad", "--set", "{}", *WHO),
        ("undo", "tally", "bad", *WHO),
        ("give-up", "tally", "vote-bad@2", *WHO),
    ):
        expected = "tally: expected a generation of version 1, which this program is, found g1 live, of "
        assert refused(system, *verb) == expected + way_out
    assert system.json("dead-letters", "decisions", "tally") == []


def test_after_a_rebuild_by_this_version_it_is_decided_here(system: System) -> None:
    rebuilt_by(system, TallyBefore())
    system.json("projections", "rebuild", "tally", code=1)
    assert "tally g2: 1 events left" in system.run("dead-letters", "skip", "tally", "bad", *WHO)


def test_a_letter_of_a_live_generation_of_another_version_is_not_said_to_be_nowhere(system: System) -> None:
    system.json("projections", "rebuild", "tally", code=1)
    system.record(BAD.replace(b'"bad"', b'"worse"'))
    assert rebuilt_by(system, TallyAfter()) == "g2"
    said = refused(system, "skip", "tally", "worse", *WHO)
    assert said.endswith("found none. It is parked in g2, which version 2 built: decide from a checkout of version 2.")
    assert [each["event_id"] for each in system.json("dead-letters", "show", "tally", "worse")] == ["worse"]
    (tried,) = system.json("dead-letters", "retry", "tally", code=1)  # an older app that goes on beside it
    assert (tried["generation"], tried["result"]["tried"]) == ("g1", 1)


# ── what is not parked ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("words", "named_so"),
    [
        (("nosuch",), "event 'nosuch'"),
        (("--stream", "nosuch"), "stream 'nosuch'"),
        (("--stream", ""), "stream ''"),
        (("--topic", "nosuch"), "topic 'nosuch'"),
        (("bad", "--stream", "nosuch"), "event 'bad', stream 'nosuch'"),
        (("bad", "--topic", "nosuch"), "event 'bad', topic 'nosuch'"),
    ],
)
def test_a_retry_of_what_is_not_parked_says_so(system: System, words: tuple[str, ...], named_so: str) -> None:
    system.json("projections", "rebuild", "tally", code=1)
    problem = f"tally: expected a parked {named_so}, found none. sidestream dead-letters list tally shows what is parked."
    plain, as_json = ended(system, "retry", "tally", *words), ended(system, "retry", "tally", *words, "--json")
    assert (plain.exit_code, plain.stdout, plain.stderr) == (1, "", problem + "\n")
    assert (as_json.exit_code, as_json.stdout) == (1, "")
    assert json.loads(as_json.stderr) == {"error": {"code": "not-parked", "message": problem}}
    (letter,) = system.json("dead-letters", "list", "tally")
    assert letter["attempts"] == 1


def test_a_retry_of_a_stream_that_one_of_several_projections_has_is_a_retry(system: System) -> None:
    system.json("projections", "rebuild", "tally", code=1)
    system.json("projections", "rebuild", "order_book")
    tried = {each["projection"]: each["result"]["tried"] for each in system.json("dead-letters", "retry", "--topic", "votes", code=1)}
    assert tried == {"tally": 1, "order_book": 0}


def test_with_nothing_named_and_nothing_parked_a_retry_is_done(system: System) -> None:
    system.json("projections", "rebuild", "tally", code=1)
    system.run("dead-letters", "skip", "tally", "bad", *WHO)
    (tried,) = system.json("dead-letters", "retry", "tally")
    assert tried["result"] == {"tried": 0, "freed": 0, "applied": 0}


def test_a_letter_that_is_not_there_is_not_shown(system: System) -> None:
    system.json("projections", "rebuild", "tally", code=1)
    shown = ended(system, "show", "tally", "nosuch")
    assert (shown.exit_code, shown.stdout) == (1, "")
    assert "tally: expected a parked event 'nosuch', found none." in shown.stderr
