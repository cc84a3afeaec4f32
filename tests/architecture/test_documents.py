"""The documents speak of what is there: links lead somewhere, named settings and Make targets exist, the README stays short."""

import re
from pathlib import Path

import pytest

from sidestream.launcher.settings import LauncherSettings
from sidestream.settings import Settings

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_leads_to_one(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_setting_that_is_named_exists(page: Path) -> None:
    sources = "".join(
        path.read_text() for part in ("sidestream", "services", "projections", "tests") for path in (ROOT / part).rglob("*.py")
    )
    for name in re.findall(r"\bSIDESTREAM_[A-Z_]+\b", page.read_text()):
        assert f'"{name}"' in sources, name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_make_target_that_is_named_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", page.read_text())) <= targets


def test_every_decision_record_is_in_the_list() -> None:
    listed = (ROOT / "docs/adr/README.md").read_text()
    for record in (ROOT / "docs/adr").glob("0*.md"):
        assert f"({record.name})" in listed


def test_the_readme_can_be_read_in_one_go() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) < 150


def test_apps_in_the_readme_are_those_of_the_run_file() -> None:
    ports = dict(re.findall(r"^\| ([a-z-]+) \| http://127\.0\.0\.1:(\d+)/docs", (ROOT / "README.md").read_text(), re.MULTILINE))
    declared = dict(re.findall(r"- appID: ([a-z-]+)\n(?:.*\n)*?    appPort: (\d+)", (ROOT / "dapr.yaml").read_text()))
    assert ports == declared


def test_every_setting_of_an_app_and_of_the_launcher_is_on_the_page_of_settings() -> None:
    page = (ROOT / "docs/settings.md").read_text()
    for settings in (Settings, LauncherSettings):
        for field in settings.model_fields.values():
            assert f"`{field.validation_alias}`" in page
