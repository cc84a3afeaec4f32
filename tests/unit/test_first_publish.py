"""The sidecar's SDK takes long to import: an app that will publish does it when it starts, and nothing else does at all."""

import subprocess
import sys
from pathlib import Path

STARTING = """
import sys, threading
from sidestream.backbone import connect
from sidestream.settings import Settings

backbone = connect(Settings())
print("dapr.proto" in sys.modules)
publisher = backbone.publisher()
for thread in threading.enumerate():
    if thread is not threading.main_thread():
        thread.join()
print("dapr.proto" in sys.modules)
"""
TYPING = """
import sys
import sidestream.cli.main
import sidestream.cli.events
print("dapr.proto" in sys.modules, "grpc" in sys.modules)
"""


def said_by(program: str, folder: Path) -> list[str]:
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=folder).stdout.split()


def test_whoever_opens_a_way_to_the_sidecar_has_its_sdk_loaded_before_the_first_event(tmp_path: Path) -> None:
    assert said_by(STARTING, tmp_path) == ["False", "True"]


def test_the_command_line_does_not_load_it(tmp_path: Path) -> None:
    assert said_by(TYPING, tmp_path) == ["False", "False"]
