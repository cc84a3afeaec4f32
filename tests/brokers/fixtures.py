"""The brokers of a run as fixtures: each is started when a test first asks for it, and ends with the session."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.brokers.servers import Server, running_server


@pytest.fixture(scope="session")
def broker_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Server]]:
    """Return the server of a broker's name, the same one each time."""
    running: dict[str, Server] = {}
    with ExitStack() as stack:

        def server(broker: str) -> Server:
            if broker not in running:
                running[broker] = stack.enter_context(running_server(broker, tmp_path_factory.mktemp(broker)))
            return running[broker]

        yield server
