"""The desk at which somebody decides: one projection's generations, and the record of what was decided about its dead letters."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sidestream.identifiers import now

if TYPE_CHECKING:
    from sidestream.applying.applied import ParkedEvent
    from sidestream.applying.corrections import Correction, Corrections, Kind
    from sidestream.applying.dead_letters import Letter, Retried
    from sidestream.applying.versions import Versions
    from sidestream.cli.declared import Declared
    from sidestream.ports import Generation, GenerationInfo, ReadModels


@contextmanager
def at_desk(file: Path, data: Path | None, name: str) -> "Iterator[Desk]":
    """Sit down at the desk of a projection of the run file."""
    from sidestream.cli.declared import declared, named

    with declared(file, data) as found, desk_of(named(found, name)) as desk:
        yield desk


@contextmanager
def desk_of(each: "Declared") -> "Iterator[Desk]":
    """Sit down at the desk of a projection."""
    from sidestream.applying.corrections import BESIDE, Corrections

    with each.read_models() as read_models, closing(Corrections(read_models.beside(BESIDE))) as corrections:
        yield Desk(each, read_models, corrections)


class Desk:
    """One projection's generations, and the record of what was decided about its dead letters."""

    def __init__(self, each: "Declared", read_models: "ReadModels", corrections: "Corrections") -> None:
        from sidestream.applying.corrections import InForce
        from sidestream.applying.decoding import Rule

        self.name = each.projection.name
        self.corrections = corrections
        self._version = each.projection.version
        self._read_models = read_models
        self._in_force = InForce(corrections)
        self.rule = Rule(each.projection, each.registry, self._in_force)

    def expect_version(self) -> None:
        """Raise ConfigurationError where generations are kept and none is of this program's version: its rule is not theirs."""
        from sidestream.errors import ConfigurationError

        infos = self._read_models.generations()
        live = next((info for info in infos if info.live), None)
        if live is None or self._own(infos):
            return
        rebuilding = f", or rebuild first: sidestream projections rebuild {self.name}" if live.version < self._version else "."
        raise ConfigurationError(
            f"{self.name}: expected a generation of version {self._version}, which this program is, found {live.name} live, of version "
            f"{live.version}. Decide and retry from a checkout of version {live.version}{rebuilding}"
        )

    def followed(self) -> "Iterator[Generation]":
        """Open every generation that follows the log by this program's rule, the live one first. Raises as `expect_version`."""
        self.expect_version()
        return self._opened(self._own(self._read_models.generations()))

    def _own(self, infos: "Iterable[GenerationInfo]") -> "Sequence[GenerationInfo]":
        return [info for info in infos if info.state == "ready" and info.version == self._version]

    def _opened(self, infos: "Iterable[GenerationInfo]") -> "Iterator[Generation]":
        for info in sorted(infos, key=lambda info: not info.live):
            with closing(self._read_models.open(info.name)) as generation:
                yield generation

    def parked_as(self, event: str) -> "Sequence[ParkedEvent]":
        """Return the parked events of this name, of the first generation that has any; the live one, whoever built it, first."""
        infos = self._read_models.generations()
        others = [info for info in self._own(infos) if not info.live]
        return _first_parked(self._opened([*(info for info in infos if info.live), *others]), event)

    def shown(self, event: "ParkedEvent") -> dict[str, Any]:
        """Return a parked event with every decision about it."""
        from sidestream.applying.dead_letters import letter_of

        letter = letter_of(event)
        decided = [correction_map(each) for each in self.corrections.after(0) if letter.is_meant_by(each)]
        return {**as_map(self.name, event), "decisions": decided}

    def letter(self, event: str, source: str, reason: str) -> "Letter":
        """Return what a decision under this name is about: a parked event, else one that was decided about before.

        Raises:
            ConfigurationError: there is none, or there are several.
        """
        from sidestream.errors import ConfigurationError

        letters = [each for each in self._letters(event) if _fits(each, source, reason)]
        if len(letters) == 1:
            return letters[0]
        found = "; ".join(each.told for each in letters) or "none"
        remedy = "Name one with --source or --reason, an entry as it is named here." if letters else self._remedy(event)
        raise ConfigurationError(f"{self.name}: expected one parked event {event}, found {found}. {remedy}")

    def _remedy(self, event: str) -> str:
        """Return what to do about a name under which none is parked in what is followed here."""
        live = next((info for info in self._read_models.generations() if info.live), None)
        if live is None or live.version == self._version or not self.parked_as(event):
            return f"sidestream dead-letters list {self.name} shows them."
        return f"It is parked in {live.name}, which version {live.version} built: decide from a checkout of version {live.version}."

    def _letters(self, event: str) -> "Sequence[Letter]":
        from sidestream.applying.dead_letters import Letter, letters_about

        if letters := next((found for generation in self.followed() if (found := letters_about(generation, event))), ()):
            return letters
        earlier = [each for each in self.corrections.after(0) if event in _names(each)]
        return list({each.replaces: Letter(each.about, each.origin, each.name, each.original) for each in earlier}.values())  # type: ignore[arg-type]

    # ── deciding ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def decide(self, kind: "Kind", letter: "Letter", *, who: str, why: str) -> "Decided":
        """Record a decision about a letter and let every generation that follows meet it now."""
        return self._met(self._recorded(letter.correction(kind, who=who, why=why, at=now())))

    def edit(self, letter: "Letter", instead: bytes, *, who: str, why: str) -> "Decided":
        """Record that another event is used instead of a letter, if the rule can read that one; as `decide`."""
        draft = letter.correction("edit", instead, who=who, why=why, at=now())
        self._expect_readable(draft)
        return self._met(self._recorded(draft))

    def _recorded(self, draft: "Correction") -> "Correction":
        """Record a decision while nothing is applied to what follows the log; what cannot be read is left to whoever opens it next."""
        from sidestream.applying.dead_letters import decide
        from sidestream.errors import UnreadableGeneration

        with ExitStack() as opened:
            generations = []
            for info in sorted(self._own(self._read_models.generations()), key=lambda info: info.name):
                with suppress(UnreadableGeneration):
                    generations.append(opened.enter_context(closing(self._read_models.open(info.name))))
            return decide(generations, self.corrections, draft)

    def _expect_readable(self, draft: "Correction") -> None:
        from sidestream.errors import InvalidEvent
        from sidestream.ports import LogEntry

        problem = self.rule.decode(LogEntry("", draft.wire, 0)).problem
        if problem:
            raise InvalidEvent(f"edit of {draft.name}: {self.name} cannot read the event to use instead: {problem}. Correct it.")

    def give_up(self, name: str, topic: str, *, who: str, why: str) -> "Decided":
        """Record that versions are given up, if a stream of the live generation waits for them; as `decide`.

        Raises:
            InvalidEvent: nothing waits for these, or nobody said who and why.
            ConfigurationError: there is no generation, or streams of several topics have this name.
        """
        from sidestream.applying.missing import give_up
        from sidestream.applying.versions import Versions
        from sidestream.errors import ConfigurationError

        versions = Versions.parse(name)
        for generation in self.followed():  # the live one
            draft = self._letter_about(generation, versions, topic).correction("give-up", who=who, why=why, at=now())
            recorded = give_up(self.rule, generation, draft, self.corrections, now)
            return self._met(recorded)
        raise ConfigurationError(f"{self.name}: expected a generation that follows the log, found none. Start its app once.")

    def _letter_about(self, generation: "Generation", versions: "Versions", topic: str) -> "Letter":
        from sidestream.applying.dead_letters import Letter
        from sidestream.applying.missing import missing_in
        from sidestream.errors import ConfigurationError

        topics = [each.topic for each in missing_in(generation, versions.stream) if topic in ("", each.topic)]
        if len(topics) > 1:
            raise ConfigurationError(
                f"{versions}: expected one topic, found streams of this name in {', '.join(topics)}. Name it with --topic."
            )
        return Letter("version", topics[0] if topics else topic, str(versions), b"", "waiting")

    def _met(self, recorded: "Correction") -> "Decided":
        """Let every generation that follows meet a decision now, and tell what became of it in each."""
        self._in_force.refresh()
        return Decided(self.name, recorded, [self._met_by(generation, recorded) for generation in self.followed()])

    def _met_by(self, generation: "Generation", recorded: "Correction") -> "Met":
        from sidestream.applying.dead_letters import drain

        was = _parked_for(generation, recorded)
        result = drain(self.rule, generation, now, [recorded] if recorded.is_to_be_met else [])
        return Met(generation.name, was, _parked_for(generation, recorded), result)


class Met(NamedTuple):
    """What a decision did in one generation: how many events were and are parked that it is about, and what was applied."""

    generation: str
    was_parked: int
    still_parked: int
    result: "Retried"


class Decided(NamedTuple):
    """A decision as it was recorded, and what it did in every generation that follows the log."""

    projection: str
    decision: "Correction"
    generations: "Sequence[Met]"

    def as_map(self) -> dict[str, Any]:
        """Return it as it is printed for programs."""
        return {
            "projection": self.projection,
            "decision": correction_map(self.decision),
            "generations": [each._asdict() for each in self.generations],
        }


def _parked_for(generation: "Generation", recorded: "Correction") -> int:
    """Return how many events are parked that a decision is about; of given-up versions, those that wait behind them."""
    from sidestream.applying.dead_letters import parked_for
    from sidestream.applying.missing import parked_behind

    if recorded.about == "version":
        return parked_behind(generation, recorded)
    with generation.snapshot() as reader:
        return len(parked_for(reader, recorded))


def _names(decision: "Correction") -> tuple[str, ...]:
    """Return what somebody may call it by that a decision was about."""
    from sidestream.applying.parking import name_of_entry

    if decision.about == "entry":
        return f"{decision.origin}@{decision.name}", name_of_entry(decision.original)
    return (decision.name,)


def _first_parked(generations: "Iterable[Generation]", event: str) -> "Sequence[ParkedEvent]":
    from sidestream.applying.dead_letters import parked_as

    return next((found for generation in generations if (found := parked_as(generation, event))), ())


def _fits(letter: "Letter", source: str, reason: str) -> bool:
    return source in ("", letter.origin) and reason in ("", letter.reason)


def correction_map(correction: "Correction") -> dict[str, Any]:
    """Return a decision as it is printed for programs."""
    import msgspec

    found = msgspec.structs.asdict(correction)
    return {**found, **{name: found[name].decode("utf-8", "backslashreplace") for name in ("wire", "original")}}


def as_map(projection: str, event: "ParkedEvent") -> dict[str, Any]:
    """Return a parked event as it is printed for programs."""
    import msgspec

    found = {"projection": projection, **msgspec.structs.asdict(event)}
    return {**found, "wire": event.wire.decode("utf-8", "backslashreplace")}
