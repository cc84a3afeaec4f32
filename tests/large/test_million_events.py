"""A file of a million CloudEvents goes through a real bridge with steady memory, and once more without doubling anything.

Run by hand: `make large`. It prints rates and memory as they were measured.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import psutil  # type: ignore[import-untyped]  # carries no types
import pytest

from sidestream.launcher.system import System
from tests.integration.importing import assert_log, assert_outcome, assert_read_model, write_file
from tests.parts import REPOSITORY, running_system

EVENTS = 1_000_000
GROWTH_MB = 64
"""What a process may take more at its highest than when a fifth of the file was in."""

pytestmark = pytest.mark.timeout(3600)


class Sample(msgspec.Struct):
    """Resident megabytes at a moment, by process."""

    second: float
    megabytes: dict[str, float]


@asynccontextmanager
async def sampled(pids: dict[str, int]) -> AsyncIterator[list[Sample]]:
    """Look at these processes twice a second, each as long as it lives."""
    samples: list[Sample] = []
    begun = time.monotonic()

    async def look() -> None:
        while True:
            megabytes = {}
            for name, pid in pids.items():
                with contextlib.suppress(psutil.Error):
                    megabytes[name] = psutil.Process(pid).memory_info().rss / 1e6
            samples.append(Sample(time.monotonic() - begun, megabytes))
            await asyncio.sleep(0.5)

    looking = asyncio.create_task(look())
    try:
        yield samples
    finally:
        looking.cancel()


def show(name: str, samples: list[Sample]) -> None:
    seconds = samples[-1].second
    print(f"\n{name}: {EVENTS:,} events in {seconds:.0f} s, {EVENTS / seconds:,.0f}/s. Resident MB by tenths of the time:")
    for process in samples[-1].megabytes | samples[0].megabytes:
        row = [samples[min(len(samples) * tenth // 10, len(samples) - 1)].megabytes.get(process, 0.0) for tenth in range(11)]
        print(f"  {process:16}" + "".join(f"{megabytes:7.0f}" for megabytes in row))


def assert_steady(process: str, samples: list[Sample]) -> None:
    seen = [sample.megabytes[process] for sample in samples if process in sample.megabytes]
    early = max(seen[: len(seen) // 5])
    assert max(seen) <= early + GROWTH_MB, f"{process}: {early:.0f} MB after a fifth, {max(seen):.0f} MB at most"


async def import_file(system: System, file: Path) -> tuple[str, list[Sample]]:
    pipe = asyncio.subprocess.PIPE
    command = [str(REPOSITORY / ".venv/bin/sidestream"), "publish", str(file), "--url", system["bridge"].url, "--json"]
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=asyncio.subprocess.DEVNULL)
    pids = {"sidestream": process.pid, "bridge": system["bridge"].app.pid, "bridge/daprd": system["bridge"].sidecar.pid}
    pids |= {"activity": system["activity"].app.pid, "broker": system.broker.pid}
    async with sampled(pids) as samples:
        out, _ = await process.communicate()
    assert process.returncode == 1
    return out.decode(), samples


async def test_a_million_events_go_in_with_steady_memory_and_once(tmp_path: Path) -> None:
    file = tmp_path / "events.ndjson"
    written = write_file(file, EVENTS, bad_every=50_000)
    print(f"\n{file.stat().st_size / 1e6:,.0f} MB, {written.lines:,} lines, {len(written.bad)} bad ones")
    async with running_system(tmp_path / "system", REPOSITORY / "tests" / "apps" / "importing.yaml") as system:
        for name in ("first", "again"):
            out, samples = await import_file(system, file)
            show(name, samples)
            assert_outcome(out, written)
            begun = time.monotonic()
            assert await assert_log(system, written) == 0
            print(f"  everything in activity {time.monotonic() - begun:.0f} s later")
            await assert_read_model(system, written)
            for process in ("sidestream", "bridge"):
                assert_steady(process, samples)
