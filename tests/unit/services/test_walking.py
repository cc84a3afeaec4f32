"""What a walk sees, what it leaves out, and what may be taken for gone."""

import os
from pathlib import Path

import pytest

from services.assets.hashing import FileReader
from services.assets.roots import AllowedRoots, NoDirectory, OutsideOfRoots, RootSettings
from services.assets.walking import Excluded, missed_below, walk


def test_a_pattern_names_files_and_directories_at_any_depth() -> None:
    excluded = Excluded([".git", "*.tmp", "cache[0-9]"])

    assert [name for name in (".git", "a.tmp", "cache7", "git", ".gitignore", "a.tmpx", "cachex") if excluded.names(name)] == [
        ".git",
        "a.tmp",
        "cache7",
    ]
    assert excluded.covers("deep/.git/config")
    assert not excluded.covers("deep/git/config")


def test_no_pattern_leaves_nothing_out() -> None:
    assert not Excluded([]).names("")
    assert not Excluded([]).covers("a/b")


def test_what_lies_below_an_unreadable_directory_is_not_gone() -> None:
    is_missed = missed_below("/srv", Excluded(["skip"]), {"/srv/locked", "/srv/file"})

    assert is_missed("/srv/open/a")
    assert is_missed("/srv/lockedx")
    assert not is_missed("/srv/locked/deep/a")
    assert not is_missed("/srv/file")
    assert not is_missed("/srv/skip/a")


def test_a_pattern_does_not_match_the_scanned_directory_itself() -> None:
    assert missed_below("/skip", Excluded(["skip"]), set())("/skip/a")
    assert missed_below("/", Excluded(["skip"]), set())("/a")


def test_a_walk_of_a_thousand_levels_ends(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(300):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)

    assert len(walk(os.fsencode(tmp_path), Excluded([])).files) == 1


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("a.py", "text/x-python"),
        ("A.PNG", "image/png"),
        ("a.tar.gz", "application/gzip"),
        ("a.tgz", "application/gzip"),
        ("a.yaml", "application/yaml"),
        ("a#b?c.json", "application/json"),
        ("data:text,x.html", "text/html"),
        (".gz", "application/octet-stream"),
        ("Makefile", "application/octet-stream"),
        ("", "application/octet-stream"),
    ],
)
def test_the_name_tells_the_media_type(name: str, media_type: str) -> None:
    assert FileReader().media_type(f"/srv/x.txt/{name}") == media_type


def test_a_link_or_a_pipe_that_took_the_place_of_a_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    os.mkfifo(tmp_path / "pipe")
    reader = FileReader()

    assert reader.read(str(tmp_path / "real")) is not None
    for name in ("link", "pipe", "gone", "real/below"):
        assert reader.read(str(tmp_path / name)) is None


# ── roots ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_only_what_lies_below_a_root_may_be_scanned(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    (tmp_path / "rootless").mkdir()
    (root / "out").symlink_to(tmp_path / "rootless")
    (root / "in").symlink_to(root / "a")
    roots = AllowedRoots([root])

    assert roots.resolve(str(root / "in")) == os.fsencode(os.path.realpath(root / "a"))
    assert roots.resolve(str(root)) == os.fsencode(os.path.realpath(root))
    for path in ("/etc", f"{root}/../rootless", f"{root}/out", f"{root}less", f"{root}/a/../../nothing", "/"):
        with pytest.raises(OutsideOfRoots):
            roots.resolve(path)


def test_what_is_no_directory_is_told_from_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NoDirectory):
        AllowedRoots([tmp_path]).resolve(str(tmp_path / "file"))
    with pytest.raises(FileNotFoundError):
        AllowedRoots([tmp_path]).resolve(str(tmp_path / "nothing"))


def test_roots_are_separated_as_in_path(tmp_path: Path) -> None:
    settings = RootSettings(asset_roots=os.pathsep.join([str(tmp_path), "/srv", ""]))

    assert AllowedRoots.from_settings(settings).roots == (os.fsencode(os.path.realpath(tmp_path)), b"/srv")


def test_the_usual_roots_are_where_the_service_stands_and_its_python() -> None:
    assert os.fsencode(Path.cwd()) in AllowedRoots.from_settings(RootSettings(asset_roots="")).roots


def test_the_root_of_everything_allows_everything(tmp_path: Path) -> None:
    assert AllowedRoots([Path("/")]).resolve(str(tmp_path))
