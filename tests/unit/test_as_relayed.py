"""A stored wire in the form that the sidecar gives it: the same event, the same text wherever it was written."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidestream.logs.as_relayed import as_relayed

_text = st.text(st.sampled_from('ab<&>\u2028"\\\n\x01\u00e9\U0001f600'), max_size=4)
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from([1.0, -0.5, 1e300, 0.12345678901234567]) | _text,
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(_text, inside, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(_values)
def test_it_says_the_same(value: object) -> None:
    assert json.loads(as_relayed(json.dumps(value, ensure_ascii=False).encode())) == value


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(_values)
def test_what_has_the_form_already_stays_as_it_is(value: object) -> None:
    once = as_relayed(json.dumps(value, ensure_ascii=False).encode())
    assert as_relayed(once) == once


def test_keys_stand_in_order_at_every_depth() -> None:
    assert as_relayed(b'{"b":{"z":1,"a":2},"a":[{"d":3,"c":4}]}') == b'{"a":[{"c":4,"d":3}],"b":{"a":2,"z":1}}'


@pytest.mark.parametrize("number", [b"1.0", b"9007199254740993", b"0.12345678901234567", b"1e400", b"-0.0", b"12345678901234567890"])
def test_numbers_keep_every_digit(number: bytes) -> None:
    assert as_relayed(b'{"data":' + number + b"}") == b'{"data":' + number + b"}"


def test_five_characters_are_escaped_and_no_others() -> None:
    found = as_relayed('{"data":"<&>\u2028\u2029 \u00e9 \U0001f600 /"}'.encode())
    assert found == '{"data":"\\u003c\\u0026\\u003e\\u2028\\u2029 \u00e9 \U0001f600 /"}'.encode()


@pytest.mark.parametrize("depth", [100, 450, 700, 5_000])
def test_an_event_of_any_depth_is_the_same_event(depth: int) -> None:
    wire = b'{"data":' + b"[" * depth + b"]" * depth + b"}"
    assert as_relayed(wire) == wire
