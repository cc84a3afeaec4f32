"""An event over three versions: a field was split, then one was renamed and changed its type. Every version is read for ever.

The form to copy when an event changes: one pure function per link, and a golden sample of every version.
"""

import copy
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidestream.errors import UnknownSchemaVersion
from sidestream.event import Envelope, decode_event
from sidestream.registry import Category, EventType, Registry

FOLDER = Path(__file__).parents[1] / "golden" / "evolution"
SAMPLES = sorted(FOLDER.glob("*.json"))


class Joined(msgspec.Struct, frozen=True):
    """Somebody became a member.

    Attributes:
        first_name: empty where version 1 had one word only.
        fee_cents: paid for the year.
    """

    first_name: str
    last_name: str
    fee_cents: int
    currency: str


def split_name(data: dict[str, Any]) -> dict[str, Any]:
    """1 to 2: `name` became `first_name` and `last_name`."""
    first, _, last = data["name"].rpartition(" ")
    return {"first_name": first, "last_name": last, "fee": data["fee"]}


def count_cents(data: dict[str, Any]) -> dict[str, Any]:
    """2 to 3: `fee`, euros as text, became `fee_cents` and `currency`."""
    rest = {key: value for key, value in data.items() if key != "fee"}
    return {**rest, "fee_cents": int(Decimal(data["fee"]) * 100), "currency": "EUR"}


JOINED = EventType("member.joined", Joined, version=3, upcasters={1: split_name, 2: count_cents})
LANGUAGE = Registry([Category("member", "members", "/tests/club", (JOINED,))])


def joined(version: int, data: dict[str, Any]) -> Envelope:
    schema = f"urn:sidestream:member.joined:{version}"
    return Envelope(id="1", source="s", type="member.joined", data=msgspec.Raw(msgspec.json.encode(data)), dataschema=schema)


def test_there_is_a_sample_of_every_version() -> None:
    assert [path.stem for path in SAMPLES] == [f"member.joined.{version}" for version in range(1, JOINED.version + 1)]


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_the_fact_is_the_same_in_every_version(sample: Path) -> None:
    assert LANGUAGE.read(decode_event(sample.read_bytes())) == Joined("Ada", "Lovelace", 1250, "EUR")


names = st.text(min_size=1).filter(lambda text: text.isprintable())
fees = st.integers(0, 10**9).map(lambda cents: f"{cents // 100}.{cents % 100:02}")


@given(names, fees)
def test_whatever_stood_in_version_1_comes_out_whole(name: str, fee: str) -> None:
    found = LANGUAGE.read(joined(1, {"name": name, "fee": fee}))
    assert f"{found.first_name} {found.last_name}".removeprefix("" if found.first_name or name.startswith(" ") else " ") == name
    assert found.fee_cents == int(fee.replace(".", ""))


@pytest.mark.parametrize(
    ("version", "data"), [(1, {"name": "Ada L", "fee": "1.00"}), (2, {"first_name": "A", "last_name": "L", "fee": "1"})]
)
def test_an_upcaster_is_pure(version: int, data: dict[str, Any]) -> None:
    upcast, before = JOINED.upcasters[version], copy.deepcopy(data)
    assert upcast(data) == upcast(data)
    assert data == before


def test_a_program_of_yesterday_tells_that_it_is_too_old() -> None:
    yesterday = EventType("member.joined", Joined, version=2, upcasters={1: split_name})
    language = Registry([Category("member", "members", "/tests/club", (yesterday,))])
    newest = decode_event(SAMPLES[-1].read_bytes())
    with pytest.raises(UnknownSchemaVersion, match=f"event {newest.id}: version 3 is newer than 2.*Deploy the newer program and retry"):
        language.read(newest)
