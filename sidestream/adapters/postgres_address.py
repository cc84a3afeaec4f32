"""The address of a database: looked at before anybody connects, because what is said of a wrong one later may show its password."""

import psycopg
from psycopg.conninfo import make_conninfo

from sidestream.errors import ConfigurationError


def checked(url: str) -> str:
    """Return the address if it is one; a password in it is not told.

    Raises:
        ConfigurationError: it is none.
    """
    try:
        return make_conninfo(url)
    except psycopg.Error:
        raise ConfigurationError("database: expected an address like postgresql://user@host:5432/name, found something else") from None
