"""Columns are read by a PostgreSQL server as what they were made from."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidestream.adapters.postgres_columns import Column, bigints, booleans, byteas, integers, teach, texts

_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"))


@pytest.fixture(scope="module")
def connection(postgres: Any) -> Iterator[psycopg.Connection[Any]]:
    with postgres.database() as url, psycopg.connect(url, autocommit=True, client_encoding="UTF8") as made:
        teach(made)
        yield made


@pytest.mark.parametrize(
    ("kind", "made", "values"),
    [
        ("integer", integers, st.integers(-(2**31), 2**31 - 1)),
        ("bigint", bigints, st.none() | st.integers(-(2**63), 2**63 - 1)),
        ("boolean", booleans, st.booleans()),
        ("text", texts, st.none() | _TEXT),
        ("bytea", byteas, st.binary()),
    ],
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_column_is_the_array_that_it_was_made_from(
    connection: psycopg.Connection[Any],
    kind: str,
    made: Callable[[Sequence[Any]], Column],
    values: st.SearchStrategy[Any],
    data: st.DataObject,
) -> None:
    wanted = data.draw(st.lists(values))
    question = f"SELECT %b::{kind}[], %b::{kind}[] IS NOT DISTINCT FROM %s::{kind}[]".encode()

    found = connection.execute(question, (made(wanted), made(wanted), wanted)).fetchone()

    assert found == (wanted, True)
