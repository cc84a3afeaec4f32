"""Ports: what one process is given no other is, as long as the one lives."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from sidestream.launcher import network
from sidestream.launcher.network import free_ports

_GIVEN = (
    "import sys; from sidestream.launcher import network; network._OUR_RANGE = range(*map(int, sys.argv[1:])); "
    "print(*network.free_ports(8), flush=True); sys.stdin.read()"
)


@contextmanager
def another_process(among: range) -> Iterator[set[int]]:
    """Another process, and which of these ports it was given."""
    command = [sys.executable, "-c", _GIVEN, str(among.start), str(among.stop)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield set(map(int, process.stdout.readline().split()))
        process.communicate()


def test_a_port_is_given_to_one_process_at_a_time_and_again_after_its_end() -> None:
    some = sorted(free_ports(8))
    among = range(some[0], some[0] + 40)
    with another_process(among) as first, another_process(among) as second:
        assert first
        assert second
        assert not first & second
        assert not (first | second) & set(some)
    with another_process(among) as third, another_process(among) as fourth:
        assert len(third | fourth) >= len(first | second)


def test_ports_are_different_free_and_none_of_those_left_out() -> None:
    first = free_ports(20)
    second = free_ports(20, without=first)
    assert len({*first, *second}) == 40
    assert all(map(network.is_free, second))


def test_a_process_is_given_a_port_again_only_when_it_had_all_of_them() -> None:
    asked = (
        "import sys; from sidestream.launcher import network; network._OUR_RANGE = range(*map(int, sys.argv[1:])); "
        "print(*(port for _ in range(8) for port in network.free_ports(10)))"
    )
    (begin,) = free_ports(1)
    among = (str(begin + 1), str(begin + 60))
    found = subprocess.run([sys.executable, "-c", asked, *among], capture_output=True, text=True, check=True, timeout=60)
    ports = found.stdout.split()
    had = len(set(ports))
    assert len(ports) == 80 > had
    assert len(set(ports[:had])) == had
