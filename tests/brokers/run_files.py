"""A run file of the tests on another broker: only the folder of components differs."""

from pathlib import Path

from tests.parts import REPOSITORY


def run_file_on(broker: str, run_file: Path, folder: Path) -> Path:
    """Write a run file of tests/apps anew into a folder, on the components of another broker."""
    text = run_file.read_text().replace("resourcesPath: ../../components", f"resourcesPath: {REPOSITORY}/components/brokers/{broker}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dapr.yaml").write_text(text.replace("../..", str(REPOSITORY)))
    return folder / "dapr.yaml"
