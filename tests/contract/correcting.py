"""A bank with an operator who decides about its dead letters."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import msgspec
import pytest

from sidestream.applying.applied import BOOKKEEPING
from sidestream.applying.corrections import BESIDE, Correction, Corrections, InForce, checked, with_data
from sidestream.applying.dead_letters import Letter, drain, letters_about, parked_events, parked_streams
from sidestream.applying.decoding import Rule
from sidestream.applying.missing import give_up
from sidestream.applying.projector import Projector
from sidestream.ports import Generation, ReadModels
from tests.contract.bank import ACCOUNTS, REGISTRY, TOPIC, Balances, Bank


@pytest.fixture
def corrections(read_models: ReadModels) -> Iterator[Corrections]:
    with closing(Corrections(read_models.beside(BESIDE))) as made:
        yield made


class Desk:
    """A bank with an operator: the log, a live generation, and as many others as a test wants."""

    def __init__(self, read_models: ReadModels, corrections: Corrections) -> None:
        self.bank = Bank(read_models)
        self.corrections = corrections
        self.in_force = InForce(corrections)
        self.rule = Rule(Balances(), REGISTRY, self.in_force)
        self.bank.rule = self.rule
        self.bank.projector = self.bank.new_projector()

    def letter(self, event_id: str) -> Letter:
        (letter,) = letters_about(self.bank.generation, event_id)
        return letter

    def decide(self, letter: Letter, kind: Any, wire: bytes = b"") -> Correction:
        recorded = self.corrections.record(letter.correction(kind, wire, who="ann", why="typo", at="2026-11-21T09:00:00Z"))
        self.in_force.refresh()
        return recorded

    def edit(self, event_id: str, amount: Any) -> Correction:
        letter = self.letter(event_id)
        wire = checked(letter.original, with_data(letter.original, msgspec.json.encode({"amount": amount})))
        return self.decide(letter, "edit", wire)

    def skip(self, event_id: str) -> Correction:
        return self.decide(self.letter(event_id), "skip")

    def give_up(self, name: str) -> Correction:
        """Give up versions of a stream, as somebody who has named them."""
        draft = Letter("version", TOPIC, name, b"").correction("give-up", who="ann", why="typo", at="2026-11-21T09:00:00Z")
        recorded = give_up(self.rule, self.bank.generation, draft, self.corrections, lambda: "now")
        self.in_force.refresh()
        return recorded

    def given_up(self, name: str) -> Letter:
        """Return what an earlier decision was about."""
        return Letter("version", TOPIC, name, b"")

    def unaware(self) -> Projector:
        """Return a projector of an app that looked for decisions now, and will not again."""
        rule = Rule(self.bank.projection, REGISTRY, InForce(self.corrections))
        return Projector(rule, self.bank.log, self.bank.generation, lambda: "now")

    def drain(self, since: int = 0) -> None:
        drain(self.rule, self.bank.generation, lambda: "later", self.in_force.since(since))

    def rebuilt(self, batch: int = 5000) -> Generation:
        name = self.bank.read_models.create(1, (*BOOKKEEPING, ACCOUNTS), "")
        generation = self.bank.read_models.open(name)
        Projector(self.rule, self.bank.log, generation, lambda: "now", batch).catch_up()
        return generation

    def expect(self, accounts: dict[str, tuple[int, str]]) -> None:
        """The drained one and one built anew hold the same, and nothing is parked in either."""
        live = self.bank.generation
        for generation in (live, self.rebuilt(), self.rebuilt(batch=1)):
            self.bank.generation = generation
            assert self.bank.accounts() == accounts
            assert not parked_streams(generation), parked_events(generation)
        self.bank.generation = live


@pytest.fixture
def desk(read_models: ReadModels, corrections: Corrections) -> Desk:
    return Desk(read_models, corrections)
