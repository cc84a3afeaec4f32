"""The record of decisions about dead letters: kept beside the generations, on every read model adapter."""

from contextlib import closing

from sidestream.applying.applied import BOOKKEEPING
from sidestream.applying.corrections import BESIDE, Correction, Corrections, InForce
from sidestream.ports import ReadModels


def correction(name: str, kind: str = "skip") -> Correction:
    return Correction(0, "event", "/s", name, kind, b"", b"{}", "ann", "because", "now")


def test_a_decision_is_kept_with_the_original_who_why_and_when(corrections: Corrections) -> None:
    recorded = corrections.record(Correction(0, "event", "/s", "\x00🎈", "edit", b"\x00new", b"\xffold", "ann", "why \x00 not", "now"))
    assert recorded.number == 1
    assert corrections.after(0) == [recorded]
    assert corrections.after(1) == []


def test_a_second_place_of_the_same_projection_sees_the_same(read_models: ReadModels, corrections: Corrections) -> None:
    recorded = corrections.record(correction("one"))
    with closing(Corrections(read_models.beside(BESIDE))) as other:
        assert other.after(0) == [recorded]
        assert other.record(correction("two")).number == 2
    assert [each.name for each in corrections.after(0)] == ["one", "two"]


def test_of_several_decisions_the_last_is_in_force_and_all_are_kept(corrections: Corrections) -> None:
    in_force = InForce(corrections)
    for kind in ("edit", "skip", "undo"):
        corrections.record(correction("one", kind))
    corrections.record(correction("two"))
    assert in_force.refresh() == 4
    assert in_force.find(("event", "/s", "one")) is None
    assert [each.name for each in in_force.since(0)] == ["two"]
    assert [each.kind for each in corrections.after(0)] == ["edit", "skip", "undo", "skip"]


def test_a_generation_that_is_dropped_takes_no_decision_with_it(read_models: ReadModels, corrections: Corrections) -> None:
    name = read_models.create(1, BOOKKEEPING, "")
    corrections.record(correction("one"))
    read_models.drop(name)
    assert len(corrections.after(0)) == 1
    assert read_models.generations() == ()
