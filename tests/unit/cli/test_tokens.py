"""`sidestream tokens` prints what docker-compose.yml asks for, other values each time."""

import json
from pathlib import Path

from typer.testing import CliRunner

from sidestream.cli.main import root

FILE = str(Path(__file__).parents[3] / "dapr.yaml")


def printed(*options: str) -> str:
    done = CliRunner().invoke(root, ["tokens", "-f", FILE, *options])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_each_app_gets_a_pair_and_no_two_are_alike() -> None:
    made = dict(line.split("=", 1) for line in printed().splitlines())
    assert {"ORDERS_DAPR_API_TOKEN", "ORDERS_APP_API_TOKEN", "ORDER_BOOK_DAPR_API_TOKEN"} <= set(made)
    assert len(set(made.values())) == len(made) == 18
    assert all(len(token) >= 43 for token in made.values()), "32 random bytes"


def test_each_time_they_are_others() -> None:
    assert not set(json.loads(printed("--json")).values()) & set(json.loads(printed("--json")).values())
