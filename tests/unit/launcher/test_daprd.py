"""A daprd is used only when it is one that Sidestream was tested with."""

from pathlib import Path

from sidestream.launcher.daprd import JETSTREAM, NAMEFORMAT, PINNED, SOURCES, Daprd, built, examine, find


def fake(path: Path, version: str, *parts: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(f"#!/bin/sh\necho {version}\nexit 0\n".encode() + b"\n".join(parts))
    path.chmod(0o755)
    return path


def home(folder: Path) -> dict[str, str]:
    return {"HOME": str(folder / "home"), "PATH": str(folder / "bin")}


def test_the_cli_s_places_come_first_then_path(tmp_path: Path) -> None:
    environment = {**home(tmp_path), "DAPR_RUNTIME_PATH": str(tmp_path / "runtime")}
    on_path = fake(tmp_path / "bin" / "daprd", "1.18.0", NAMEFORMAT)
    assert find(tmp_path, environment)[0] == Daprd(on_path, "1.18.0", has_jetstream=False)

    at_home = fake(tmp_path / "home" / ".dapr" / "bin" / "daprd", "1.18.1", NAMEFORMAT, JETSTREAM)
    assert find(tmp_path, environment)[0] == Daprd(at_home, "1.18.1", has_jetstream=True)

    named = fake(tmp_path / "runtime" / ".dapr" / "bin" / "daprd", "1.18.2", NAMEFORMAT)
    assert find(tmp_path, environment)[0] == Daprd(named, "1.18.2", has_jetstream=False)


def test_another_version_is_refused_with_what_was_expected(tmp_path: Path) -> None:
    fake(tmp_path / "bin" / "daprd", "1.14.4", NAMEFORMAT)

    found, refused = find(tmp_path, home(tmp_path))

    assert found is None
    assert "expected version 1.18.x" in str(refused[0])
    assert "found 1.14.4" in str(refused[0])


def test_a_reduced_build_is_refused(tmp_path: Path) -> None:
    verdict = examine(fake(tmp_path / "daprd", "1.18.1"))

    assert "nameformat" in str(verdict)


def test_what_does_not_answer_is_refused(tmp_path: Path) -> None:
    program = tmp_path / "daprd"
    program.write_bytes(b"\x7fELF nonsense")
    program.chmod(0o755)

    assert "does not answer" in str(examine(program))


def test_another_pin_is_another_folder_in_the_cache(tmp_path: Path) -> None:
    sources = tmp_path / "tools" / "sidecar"
    sources.mkdir(parents=True)
    for name in SOURCES:
        (sources / name).write_text(name)
    environment = {**home(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}

    first = built(tmp_path, environment)
    (sources / "go.mod").write_text("changed")

    assert first.is_relative_to(tmp_path / "cache" / "sidestream")
    assert PINNED in first.parent.name
    assert built(tmp_path, environment) != first


def test_a_system_without_pins_takes_what_a_clone_has_built(tmp_path: Path) -> None:
    environment = {**home(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    there = fake(tmp_path / "cache" / "sidestream" / f"daprd-{PINNED}-0123456789ab" / "daprd", PINNED, NAMEFORMAT, JETSTREAM)

    assert find(tmp_path / "system", environment)[0] == Daprd(there, PINNED, has_jetstream=True)


def test_a_tree_with_pins_of_its_own_takes_no_build_of_others(tmp_path: Path) -> None:
    sources = tmp_path / "tools" / "sidecar"
    sources.mkdir(parents=True)
    for name in SOURCES:
        (sources / name).write_text(name)
    environment = {**home(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    fake(tmp_path / "cache" / "sidestream" / f"daprd-{PINNED}-0123456789ab" / "daprd", PINNED, NAMEFORMAT, JETSTREAM)

    assert find(tmp_path, environment) == (None, [])
