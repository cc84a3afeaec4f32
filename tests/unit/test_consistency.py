"""The token: what it looks like, and what is refused."""

import pytest

from sidestream.applying.consistency import Place, parse_token, token_of
from sidestream.errors import InvalidToken

PLACES = (Place("votes", "0190-a.1", 17), Place("orders.3", "0190-b.2", 1))
TOPICS = ("votes", "orders.3")


def test_a_token_survives_the_header() -> None:
    assert token_of(PLACES) == "votes:0190-a.1:17, orders.3:0190-b.2:1"
    assert parse_token(token_of(PLACES), TOPICS) == PLACES


def test_a_place_named_twice_is_waited_for_once() -> None:
    assert parse_token("votes:p:1,votes:p:1", TOPICS) == (Place("votes", "p", 1),)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ",",
        "votes",
        "votes:p",
        "votes:p:",
        "votes:p:0",
        "votes:p:-1",
        "votes:p:1.0",
        "votes:p:٣",
        "votes::1",
        ":p:1",
        "votes:p:1,",
        "votes:p:9223372036854775808",
        "votes:p:99999999999999999999999",
        "votes:p q:1",
        f"votes:{'p' * 600}:1",
        ", ".join(f"votes:p:{number}" for number in range(1, 102)),
    ],
)
def test_a_malformed_token_is_refused(text: str) -> None:
    with pytest.raises(InvalidToken, match="consistency token: expected"):
        parse_token(text, TOPICS)


def test_a_topic_that_is_not_followed_is_named() -> None:
    with pytest.raises(InvalidToken, match=r"expected topics among votes, orders\.3, found 'payments'"):
        parse_token("votes:p:1, payments:p:1", TOPICS)
