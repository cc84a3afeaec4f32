"""The asset catalogue after scans of a real Python installation equals what `os.walk` and `hashlib` say, to the byte.

What is expected is worked out here: the disk is walked and hashed by the test, paths are decoded by urllib.
"""

import hashlib
import os
import shutil
import sysconfig
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import httpx
import msgspec
import pytest

from sidestream.launcher.parts import APP_IS_HEALTHY
from sidestream.launcher.system import System
from tests.asking import all_pages, caught_up, length
from tests.parts import REPOSITORY, running_system
from tests.waiting import until

RUN_FILE = REPOSITORY / "tests" / "apps" / "catalogue.yaml"
INSTALLED = 5_200
LARGEST = 64 * 1024
ODD_NAMES = [
    b"100%.txt",
    b"%41%2F.txt",
    b"caf\xe9 \xff.bin",
    "café.bin".encode(),
    b"a name with spaces",
    "🐈.json".encode(),
    b"new\nline",
    b".gz",
]

pytestmark = pytest.mark.timeout(180)


class OnDisk(msgspec.Struct, frozen=True):
    size: int
    modified_ns: int
    sha256: str


Disk = dict[bytes, OnDisk]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A part of the Python installation, copied with its times, and files with names that are hard to write."""
    root = tmp_path / "root"
    for number, source in enumerate(installed_files(INSTALLED)):
        target = root / f"part{number % 40}" / f"{number}" / source.name
        target.parent.mkdir(parents=True)
        shutil.copy2(source, target)
    odd = root / "odd"
    odd.mkdir()
    for name in ODD_NAMES:
        write(Path(os.fsdecode(os.fsencode(odd) + b"/" + name)), name)
    (odd / "empty").touch()
    (odd / "link").symlink_to(root / "part0", target_is_directory=True)
    (odd / "dangling").symlink_to("nowhere")
    return root


def installed_files(count: int) -> list[Path]:
    """Return some regular files of the standard library and of what is installed beside it, always the same ones."""
    found: list[Path] = []
    for base in (sysconfig.get_path("purelib"), sysconfig.get_path("stdlib")):
        for folder, below, names in os.walk(base):
            below[:] = sorted(name for name in below if name != "__pycache__")
            files = (Path(folder, name) for name in sorted(names))
            found += (file for file in files if file.is_file() and not file.is_symlink() and file.stat().st_size <= LARGEST)
            if len(found) >= count:
                return found[:count]
    return found


@pytest.fixture
async def system(tmp_path: Path, root: Path) -> AsyncIterator[System]:
    """The assets service and the catalogue, each with a sidecar."""
    async with running_system(tmp_path / "system", RUN_FILE, environment={"SIDESTREAM_ASSET_ROOTS": str(root)}) as running:
        yield running


# ── the disk ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def on_disk(root: Path) -> Disk:
    found: Disk = {}
    for folder, _, names in os.walk(os.fsencode(root)):
        for name in names:
            path = os.path.join(folder, name)  # noqa: PTH118 - the path is bytes
            if not os.path.islink(path):  # noqa: PTH114
                with open(path, "rb") as file:  # noqa: PTH123
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                status = os.stat(path)  # noqa: PTH116
                found[path] = OnDisk(status.st_size, status.st_mtime_ns, digest)
    return found


def unique(disk: Disk) -> Iterator[Path]:
    """Give the files of the Python installation whose content no other file has, so that nobody can take one for another."""
    copies = Counter(file.sha256 for file in disk.values())
    return iter([Path(os.fsdecode(path)) for path, file in sorted(disk.items()) if b"/part" in path and copies[file.sha256] == 1])


def take(files: Iterator[Path], count: int) -> list[Path]:
    return [next(files) for _ in range(count)]


# ── the system ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def begin_scan(system: System, root: Path) -> str:
    async with httpx.AsyncClient(base_url=system["assets"].url, timeout=30) as door:
        answer = await door.post("/scans", json={"path": str(root)})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


async def show_scan(system: System, scan: str) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=system["assets"].url, timeout=30) as door:
        return dict((await door.get(f"/scans/{scan}")).raise_for_status().json())


async def scan(system: System, root: Path) -> dict[str, int]:
    """Scan to the end, wait until all of it is in the catalogue, and return the counts."""
    begun = await begin_scan(system, root)
    found: dict[str, Any] = {}

    async def has_ended() -> bool:
        found.update(await show_scan(system, begun))
        return str(found["state"]) != "running"

    await until(has_ended, seconds=60, what=lambda: f"the end of scan {begun}")
    assert found["state"] == "completed", found
    published = max((place["sequence"] for place in found["consistency"] if place["topic"] == "assets"), default=0)
    await until(lambda: length(system, "assets") >= published, seconds=30, what=lambda: f"{published} events on assets")
    await caught_up(system, "asset-catalog", "/summary")
    return dict(found["result"])


async def catalogue(system: System) -> dict[bytes, dict[str, Any]]:
    assets = await all_pages(system["asset-catalog"].url, "/assets", "assets")
    return {unquote_to_bytes(asset["path"]): asset for asset in assets}


async def assert_catalogue(system: System, root: Path) -> dict[bytes, dict[str, Any]]:
    """Hold every answer of the catalogue against the disk; return its assets by path."""
    disk, url = on_disk(root), system["asset-catalog"].url
    assets = await all_pages(url, "/assets", "assets")
    found = {unquote_to_bytes(asset["path"]): asset for asset in assets}
    assert len(assets) == len(disk)
    assert {path: OnDisk(asset["size"], asset["modified_ns"], asset["sha256"]) for path, asset in found.items()} == disk
    assert len({asset["id"] for asset in assets}) == len(disk)

    copies = expected_duplicates(disk)
    duplicates = await all_pages(url, "/duplicates", "duplicates")
    assert {(row["sha256"], row["size"]): (row["copies"], row["wasted"]) for row in duplicates} == {
        (sha256, size): (len(paths), size * (len(paths) - 1)) for (sha256, size), paths in copies.items()
    }
    assert all({unquote_to_bytes(path) for path in row["paths"]} <= copies[row["sha256"], row["size"]] for row in duplicates)
    assert all(len(row["paths"]) == min(row["copies"], 100) for row in duplicates)
    await assert_totals(url, disk, assets, copies)
    return found


def expected_duplicates(disk: Disk) -> dict[tuple[str, int], set[bytes]]:
    contents: defaultdict[tuple[str, int], set[bytes]] = defaultdict(set)
    for path, file in disk.items():
        contents[file.sha256, file.size].add(path)
    return {content: paths for content, paths in contents.items() if len(paths) > 1}


async def assert_totals(url: str, disk: Disk, assets: Iterable[dict[str, Any]], copies: dict[tuple[str, int], set[bytes]]) -> None:
    types = {row["media_type"]: (row["assets"], row["bytes"]) for row in await all_pages(url, "/types", "types")}
    by_type: defaultdict[str, list[int]] = defaultdict(list)
    for asset in assets:
        by_type[asset["media_type"]].append(asset["size"])
    assert types == {media_type: (len(sizes), sum(sizes)) for media_type, sizes in by_type.items()}
    python = [file.size for path, file in disk.items() if path.endswith(b".py")]
    assert types["text/x-python"] == (len(python), sum(python))
    async with httpx.AsyncClient(base_url=url, timeout=30) as door:
        summary = (await door.get("/summary")).json()
    assert summary == {
        "assets": len(disk),
        "bytes": sum(file.size for file in disk.values()),
        "duplicates": len(copies),
        "wasted": sum(size * (len(paths) - 1) for (_, size), paths in copies.items()),
    }


async def tag(system: System, asset: str, word: str) -> None:
    async with httpx.AsyncClient(base_url=system["assets"].url, timeout=30) as door:
        (await door.put(f"/assets/{asset}/tags/{word}")).raise_for_status()


# ── the tests ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_catalogue_of_a_python_installation_is_the_disk_to_the_byte_before_and_after_changes(system: System, root: Path) -> None:
    disk = on_disk(root)
    assert len(disk) >= 5_000, f"expected 5,000 installed files of at most {LARGEST} bytes"
    assert await scan(system, root) == counts(discovered=len(disk))
    before = await assert_catalogue(system, root)

    files = unique(disk)
    moves = move_files(take(files, 120), root / "moved") | move_folder(root / "part7", root / "renamed %7")
    tagged, tagged_now = next(iter(moves.items()))
    await tag(system, before[os.fsencode(tagged)]["id"], "kept")
    files = (file for file in files if file.is_file())
    changed = change_content(take(files, 100)) | touch(take(files, 50)) | swap(*take(files, 2))
    deleted = delete(take(files, 90)) | set(put_folders_in_place(take(files, 1)))
    added = 1 + add_files(root / "added")

    result = await scan(system, root)
    after = await assert_catalogue(system, root)
    unchanged = len(disk) - len(moves) - len(changed) - len(deleted)
    assert result == counts(discovered=added, changed=len(changed), moved=len(moves), deleted=len(deleted), unchanged=unchanged)
    kept = {old: new for old, new in moves.items() if is_alone(disk, old)} | {path: path for path in changed}
    assert {new: after[os.fsencode(new)]["id"] for new in kept.values()} == {
        new: before[os.fsencode(old)]["id"] for old, new in kept.items()
    }
    assert after[os.fsencode(tagged_now)]["tags"] == ["kept"]
    assert not {asset["id"] for asset in after.values()} & {before[os.fsencode(path)]["id"] for path in deleted}
    assert await scan(system, root) == counts(unchanged=len(after))


async def test_a_scan_that_is_killed_is_failed_and_the_next_one_makes_the_catalogue_right(system: System, root: Path) -> None:
    killed = await begin_scan(system, root)
    await until(lambda: length(system, "assets") >= 50, what=lambda: "some of the scan in the log")
    await system["assets"].app.kill()
    recorded = length(system, "assets")
    await system["assets"].app.start()
    await system["assets"].app.ready(APP_IS_HEALTHY)

    assert (await show_scan(system, killed))["state"] == "failed"
    result = await scan(system, root)
    assert recorded < len(on_disk(root)), "the scan had ended before it was killed"
    assert 0 < result["unchanged"] < result["unchanged"] + result["discovered"] == len(on_disk(root))
    await assert_catalogue(system, root)


# ── what happens to the files ────────────────────────────────────────────────────────────────────────────────────────


def counts(**some: int) -> dict[str, int]:
    return {**dict.fromkeys(("discovered", "changed", "moved", "deleted", "unchanged", "skipped"), 0), **some}


def is_alone(disk: Disk, path: Path) -> bool:
    """Whether no other file had this content: among equal files nobody can say which one moved where."""
    content = disk[os.fsencode(path)].sha256
    return sum(file.sha256 == content for file in disk.values()) == 1


def move_files(files: Iterable[Path], target: Path) -> dict[Path, Path]:
    target.mkdir()
    return {file: file.rename(target / f"{number} {file.name}") for number, file in enumerate(files)}


def move_folder(folder: Path, target: Path) -> dict[Path, Path]:
    files = [file for file in folder.rglob("*") if file.is_file()]
    folder.rename(target)
    return {file: target / file.relative_to(folder) for file in files}


def change_content(files: Iterable[Path]) -> set[Path]:
    return _each(files, lambda file: file.write_bytes(file.read_bytes()[::-1] + b"!"))


def touch(files: Iterable[Path]) -> set[Path]:
    return _each(files, lambda file: file.touch())


def swap(one: Path, other: Path) -> set[Path]:
    """Let two files change places; both were there before and after, so both have changed."""
    aside = one.with_name("aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)
    return {one, other}


def delete(files: Iterable[Path]) -> set[Path]:
    return _each(files, Path.unlink)


def put_folders_in_place(files: Iterable[Path]) -> Iterable[Path]:
    for file in files:
        file.unlink()
        write(file / "inside", b"below what was a file")
    return files


def add_files(folder: Path) -> int:
    for number in range(30):
        write(folder / f"{number}.py", f"print({number})".encode())
    for number in range(3):
        write(folder / f"copy {number}", b"three times the same")
    return 33


def _each(files: Iterable[Path], change: Callable[[Path], object]) -> set[Path]:
    done = set(files)
    for file in done:
        change(file)
    return done
