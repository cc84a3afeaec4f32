"""The desk at which somebody decides about an entry that cannot be read. On every read model adapter."""

from typing import Any

import msgspec
import pytest

from sidestream.applying.applied import BOOKKEEPING
from sidestream.applying.dead_letters import parked_events
from sidestream.cli.dead_letters_desk import Desk as OperatorsDesk
from sidestream.errors import ConfigurationError, UnreadableGeneration
from sidestream.event import digest
from sidestream.ports import ReadModels
from sidestream.projection import Projection
from sidestream.registry import Registry
from tests.contract.bank import ACCOUNTS, REGISTRY, TOPIC
from tests.contract.correcting import Desk

BAD, OTHER = b'{"id"', b'{"source"'
ONE_OF_BAD, ONE_OF_OTHER = (f"entry #{digest(wire).hex()}" for wire in (BAD, OTHER))
SAID = {"who": "ann", "why": "garbage"}


class Declared(msgspec.Struct):
    """What the desk knows of a projection of the run file."""

    projection: Projection
    registry: Registry


class Lacking:
    """Read models of which one generation cannot be read."""

    def __init__(self, read_models: ReadModels, name: str) -> None:
        self._read_models = read_models
        self._name = name

    def open(self, name: str) -> Any:
        if name == self._name:
            raise UnreadableGeneration(f"{name} is gone")
        return self._read_models.open(name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._read_models, name)


def sit_down(desk: Desk, read_models: Any) -> OperatorsDesk:
    declared: Any = Declared(desk.bank.projection, REGISTRY)
    return OperatorsDesk(declared, read_models, desk.corrections)


@pytest.fixture
def operators(desk: Desk) -> OperatorsDesk:
    """The desk of a projection whose live generation has two letters from one position: the log was written anew."""
    bank = desk.bank
    bank.read_models.mark_ready(bank.name)
    bank.read_models.switch(bank.name)
    one, two = bank.wire("account-a", 1), bank.wire("account-a", 2)
    bank.record(BAD, one)
    bank.projector.catch_up()
    bank.log.flush(TOPIC)
    bank.record(OTHER, two, one)
    bank.projector.catch_up()
    return sit_down(desk, bank.read_models)


def wires(desk: Desk) -> list[bytes]:
    return [event.wire for event in parked_events(desk.bank.generation)]


def test_of_two_letters_of_one_name_each_is_named_by_its_bytes(operators: OperatorsDesk, desk: Desk) -> None:
    with pytest.raises(ConfigurationError) as refused:
        operators.letter(f"{TOPIC}@1", "", "")
    assert f"{ONE_OF_BAD} of {TOPIC}" in str(refused.value)
    assert f"{ONE_OF_OTHER} of {TOPIC}" in str(refused.value)
    (met,) = operators.decide("skip", operators.letter(ONE_OF_BAD, "", ""), **SAID).generations
    assert (met.was_parked, met.still_parked, met.result.applied, wires(desk)) == (1, 0, 1, [OTHER])


def test_a_decision_about_an_entry_is_found_again_by_either_name(operators: OperatorsDesk) -> None:
    for name in (ONE_OF_BAD, ONE_OF_OTHER):
        operators.decide("skip", operators.letter(name, "", ""), **SAID)
    assert operators.letter(ONE_OF_BAD, "", "").original == BAD
    assert operators.letter(ONE_OF_OTHER, "", "").original == OTHER
    with pytest.raises(ConfigurationError, match="expected one parked event"):
        operators.letter(f"{TOPIC}@1", "", "")
    (met,) = operators.decide("undo", operators.letter(ONE_OF_BAD, "", ""), **SAID).generations
    assert (met.was_parked, met.still_parked) == (0, 0)


def test_a_letter_is_shown_with_the_decisions_about_its_bytes_only(operators: OperatorsDesk) -> None:
    for kind in ("skip", "undo"):
        operators.corrections.record(operators.letter(ONE_OF_BAD, "", "").correction(kind, at="now", **SAID))  # type: ignore[arg-type]
    shown = {name: operators.shown(event)["decisions"] for name in (ONE_OF_BAD, ONE_OF_OTHER) for event in operators.parked_as(name)}
    assert [each["kind"] for each in shown[ONE_OF_BAD]] == ["skip", "undo"]
    assert shown[ONE_OF_OTHER] == []


def test_a_generation_that_cannot_be_read_does_not_keep_a_decision_from_the_live_one(operators: OperatorsDesk, desk: Desk) -> None:
    read_models = desk.bank.read_models
    gone = read_models.create(1, (*BOOKKEEPING, ACCOUNTS), "")
    read_models.mark_ready(gone)
    beside_one_that_is_gone = sit_down(desk, Lacking(read_models, gone))
    letter = beside_one_that_is_gone.letter(ONE_OF_BAD, "", "")
    with pytest.raises(UnreadableGeneration):
        beside_one_that_is_gone.decide("skip", letter, **SAID)
    assert (len(desk.corrections.after(0)), wires(desk)) == (1, [OTHER])
