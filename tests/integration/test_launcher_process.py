"""A process: its lines arrive whole, its end is known, and nothing of its group outlives it."""

import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sidestream.launcher.process import Process, Program
from tests.waiting import until


class Started:
    """A shell script that was started, and what became known of it."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.deaths: list[str] = []
        self.processes: list[Process] = []

    async def __call__(self, script: str) -> Process:
        program = Program("script", ["sh", "-c", script], Path.cwd(), {"GREETING": "hello"})
        process = Process(program, self.lines.append, lambda dead: self.deaths.append(dead.describe_end()))
        self.processes.append(process)
        await process.start()
        return process


@pytest.fixture
async def started() -> AsyncIterator[Started]:
    started = Started()
    yield started
    for process in started.processes:
        await process.kill()


async def test_lines_arrive_whole_from_both_outputs_and_the_last_without_its_end(started: Started) -> None:
    await started('echo "$GREETING"; printf "two\\nthree" >&2')
    await until(lambda: bool(started.deaths))

    assert started.lines == ["hello", "two", "three"]
    assert started.deaths == ["ended with exit code 0"]


async def test_a_line_without_end_does_not_fill_the_memory(started: Started) -> None:
    await started("head -c 300000 /dev/zero | tr '\\0' x")
    await until(lambda: bool(started.deaths))

    assert sum(map(len, started.lines)) == 300_000
    assert max(map(len, started.lines)) < 200_000


async def test_what_ends_by_itself_is_a_death_and_what_we_end_is_none(started: Started) -> None:
    await started("exit 3")
    await until(lambda: started.deaths == ["ended with exit code 3"])

    await (await started("sleep 60")).stop()
    assert started.deaths == ["ended with exit code 3"]


async def test_a_process_that_does_not_listen_is_ended_when_patience_runs_out(started: Started) -> None:
    process = await started("trap '' TERM; echo ready; while true; do sleep 0.05; done")
    await until(lambda: started.lines == ["ready"])

    await process.stop(patience=0.2)

    assert process.exit_code == -signal.SIGKILL


async def test_a_paused_process_can_still_be_stopped(started: Started) -> None:
    process = await started("sleep 60")
    process.pause()

    await process.stop(patience=5)

    assert process.exit_code == -signal.SIGTERM


async def test_a_child_that_holds_the_output_does_not_hold_the_stop(started: Started) -> None:
    process = await started("sleep 60 & echo ready; wait")
    await until(lambda: started.lines == ["ready"])

    await process.stop(patience=5)

    assert process.exit_code == -signal.SIGTERM


async def test_the_line_to_start_by_hand_is_one_for_the_shell(started: Started) -> None:
    process = await started("echo 'a b'")

    assert process.program.line() == f"""cd {Path.cwd()} && GREETING=hello sh -c 'echo '"'"'a b'"'"''"""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SIDESTREAM_DATABASE_URL", "postgresql://me:hunter2@db/models"),
        ("SIDESTREAM_BROKER", "nats://hunter2@log:4222"),
        ("ANY_URL", "amqp://:hunter2@broker:5672"),
        ("DATABASE", "host=db user=me password=hunter2"),
        ("MY_PASSWORD", "hunter2"),
        ("SOME_API_KEY", "hunter2"),
    ],
)
def test_the_line_to_start_by_hand_takes_what_holds_a_password_from_the_shell(name: str, value: str, tmp_path: Path) -> None:
    program = Program("app", ["true"], tmp_path, {"APP_ID": "app", "URL": "http://127.0.0.1:80/a:b@c", name: value})
    assert program.line() == f"""cd {tmp_path} && APP_ID=app URL=http://127.0.0.1:80/a:b@c {name}="${name}" true"""
    assert "hunter2" not in repr(program)
