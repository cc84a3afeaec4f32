"""A log that is read again from its start makes no second letter of what is parked already. On every read model adapter.

A log is read again when its end was lost, and when it was repaired or moved. What cannot be read, and a number that was
given twice, is not counted: it is known by what it is parked under. Earlier releases named an entry by its position, and
may have parked it several times.
"""

import msgspec

from sidestream.applying.applied import HEAD_KEY, HEADS, PARKED_EVENTS, PARKED_STREAMS, ParkedStream
from sidestream.applying.dead_letters import has_met, parked_events, parked_streams, retry
from sidestream.ports import Query, Unit, shape_of
from sidestream.rebuilding.building import silent
from sidestream.rebuilding.comparing import Comparison, Side, compare, parked_only_in
from tests.contract.bank import TOPIC
from tests.contract.correcting import Desk

BAD, WORSE = b'{"id"', b"{"


def first_read(desk: Desk) -> list[bytes]:
    """Let the live generation meet two entries that cannot be read and a number that was given twice; return the log."""
    bank = desk.bank
    log = [bank.wire("account-a", 1), BAD, bank.wire("account-a", 2), WORSE, bank.wire("account-b", 5, number=2, id="other")]
    log.append(bank.wire("account-a", 3))
    bank.record(*log)
    bank.projector.catch_up()
    assert sorted(bank.reasons()) == ["number-reused", "unreadable-entry", "unreadable-entry"]
    return log


def write_anew(desk: Desk, *wires: bytes) -> None:
    desk.bank.log.flush(TOPIC)
    desk.bank.record(*wires)


def compared(desk: Desk) -> Comparison:
    """Compare the live generation with one built anew."""
    new = desk.rebuilt()
    shapes = [shape_of(table) for table in (HEADS, PARKED_EVENTS, *desk.bank.projection.tables)]
    with desk.bank.generation.snapshot() as live, new.snapshot() as built:
        return compare(Side("live", live, shapes, 1), Side("new", built, shapes, 1), (TOPIC,), silent)


def as_an_earlier_release(desk: Desk, *positions: str) -> None:
    """Name the letters of BAD as earlier releases did, once for every position at which it was met."""
    with desk.bank.generation.unit() as unit:
        (found,) = (event for event in unit.select(PARKED_EVENTS, Query()) if event.wire == BAD)
        unit.delete(PARKED_EVENTS, [(found.topic, found.stream, found.ordinal)])
        unit.delete(PARKED_STREAMS, [(found.topic, found.stream)])
        for position in positions:
            name = f"entry {position}"
            ordinal = sum(event.stream == name for event in unit.select(PARKED_EVENTS, Query())) + 1
            unit.write(PARKED_EVENTS, [msgspec.structs.replace(found, stream=name, ordinal=ordinal, position=position)])
            unit.write(PARKED_STREAMS, [ParkedStream(TOPIC, name, 0, 1, ordinal + 1)])
        count_up(unit)


def count_up(unit: Unit) -> None:
    head = unit.read(HEADS, [HEAD_KEY])[HEAD_KEY]
    unit.write(HEADS, [msgspec.structs.replace(head, revision=head.revision + 1)])


def letters(desk: Desk) -> list[tuple[str, str]]:
    return sorted((event.stream, event.position) for event in parked_events(desk.bank.generation))


def test_a_log_that_lost_its_end_is_read_again_without_second_letters(desk: Desk) -> None:
    log = first_read(desk)
    before = letters(desk)
    write_anew(desk, *log[:5])
    assert desk.bank.projector.catch_up().duplicates == 5
    desk.bank.record(log[5])
    desk.bank.projector.catch_up()
    assert letters(desk) == before
    assert compared(desk).findings == []


def test_a_log_that_was_written_anew_at_other_positions_makes_no_second_letters(desk: Desk) -> None:
    log = first_read(desk)
    before = letters(desk)
    write_anew(desk, log[0], log[0], *log[1:])
    desk.bank.new_projector(batch=1).catch_up()
    assert letters(desk) == before
    assert compared(desk).findings == []


def test_what_stands_twice_in_one_batch_is_parked_once(desk: Desk) -> None:
    again = desk.bank.wire("account-a", 9, number=1, id="again")
    desk.bank.record(desk.bank.wire("account-a", 1), BAD, again, BAD, again)
    assert (desk.bank.projector.catch_up().parked, len(parked_streams(desk.bank.generation))) == (2, 2)
    assert compared(desk).findings == []


def test_what_was_skipped_can_be_parked_again_after_it_was_undone(desk: Desk) -> None:
    log = first_read(desk)
    letter = desk.letter(f"{TOPIC}@2")
    desk.decide(letter, "skip")
    desk.drain()
    desk.decide(letter, "undo")
    assert len(letters(desk)) == 2
    write_anew(desk, log[0], *log)
    desk.bank.projector.catch_up()
    assert len(letters(desk)) == 3
    assert compared(desk).findings == []


# ── generations of earlier releases ──────────────────────────────────────────────────────────────────────────────────


def test_a_letter_of_an_earlier_release_is_no_difference(desk: Desk) -> None:
    first_read(desk)
    as_an_earlier_release(desk, "2")
    assert compared(desk).findings == []


def test_letters_that_an_earlier_release_doubled_are_no_difference(desk: Desk) -> None:
    first_read(desk)
    as_an_earlier_release(desk, "2", "4", "4")
    with desk.bank.generation.unit() as unit:
        (reused,) = (event for event in unit.select(PARKED_EVENTS, Query()) if event.reason == "number-reused")
        unit.write(PARKED_EVENTS, [msgspec.structs.replace(reused, ordinal=2)])
        unit.write(PARKED_STREAMS, [ParkedStream(TOPIC, reused.stream, 0, 1, 3)])
        count_up(unit)
    assert len(letters(desk)) == 6
    assert compared(desk).findings == []


def test_a_letter_of_an_earlier_release_that_a_rebuild_lacks_is_a_difference_still(desk: Desk) -> None:
    log = first_read(desk)
    as_an_earlier_release(desk, "2")
    write_anew(desk, *(wire for wire in log if wire != BAD))
    (finding,) = compared(desk).findings
    assert "entry 2 (unreadable)" in finding
    assert "parked in live (unreadable-entry), not in new" in finding
    live, new = desk.bank.generation, desk.rebuilt()
    with live.snapshot() as ours, new.snapshot() as theirs:
        assert (parked_only_in(ours, theirs), parked_only_in(theirs, ours)) == ({(TOPIC, "entry 2")}, set())


def test_an_entry_that_an_earlier_release_parked_is_not_parked_again(desk: Desk) -> None:
    log = first_read(desk)
    as_an_earlier_release(desk, "2")
    before = letters(desk)
    write_anew(desk, log[0], *log)
    desk.bank.new_projector().catch_up()
    assert letters(desk) == before
    assert compared(desk).findings == []


def test_letters_that_an_earlier_release_doubled_meet_one_decision(desk: Desk) -> None:
    first_read(desk)
    as_an_earlier_release(desk, "2", "4", "7", "7")
    decision = desk.skip(f"{TOPIC}@2")
    with desk.bank.generation.snapshot() as reader:
        assert not has_met(reader, decision)
    desk.drain()
    with desk.bank.generation.snapshot() as reader:
        assert has_met(reader, decision)
    assert [reason for reason in desk.bank.reasons() if reason == "unreadable-entry"] == ["unreadable-entry"]
    assert compared(desk).findings == []


def test_a_letter_of_an_earlier_release_meets_what_that_release_decided_about_its_equal(desk: Desk) -> None:
    """Decided at 9 and met there; the letter from 2 was left, because a decision was about one position."""
    first_read(desk)
    as_an_earlier_release(desk, "2", "9")
    desk.skip(f"{TOPIC}@9")
    retry(desk.rule, desk.bank.generation, lambda: "later", stream="entry 9")
    assert [name for name, _ in letters(desk) if "#" not in name] == ["entry 2", "number 2 of writer.1 as other"]
    desk.drain()
    assert [name for name, _ in letters(desk) if "#" not in name] == ["number 2 of writer.1 as other"]
    assert compared(desk).findings == []
