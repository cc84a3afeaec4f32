"""Recorded runs, the page that is made of them, and words that ask for nothing possible."""

import shutil
from pathlib import Path

import msgspec
import pytest
import yaml
from typer.testing import CliRunner

from sidestream.cli.broker import app as broker_verbs
from sidestream.conformance.clearing import clear
from sidestream.conformance.page import page_of
from sidestream.conformance.results import Result, Run, read_run
from sidestream.errors import ConfigurationError
from tests.parts import REPOSITORY

RECORDED = sorted((REPOSITORY / "benchmarks/results/brokers").glob("*.json"))


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_a_recorded_run_is_full_and_asks_each_question_once(path: Path) -> None:
    found = read_run(path)
    assert (found.broker, found.scope) == (path.stem, "full")
    names = [result.name for result in found.results]
    assert len(names) == len(set(names))


def test_the_page_is_that_of_the_recorded_runs() -> None:
    written = (REPOSITORY / "docs/brokers.md").read_text(encoding="utf-8")
    assert written == page_of([read_run(path) for path in RECORDED]), (
        "write it anew: sidestream broker check --write docs/brokers.md benchmarks/results/brokers/*.json"
    )


def test_a_page_says_what_is_bad_and_what_was_not_asked() -> None:
    run = read_run(RECORDED[0])
    bad = Result(name="log-order-key", question="Is order kept?", answer="lost 1 | 2", verdict="bad", explanation="It is not.")
    other = Result(name="new", question="What else?", answer="no", verdict="bad", explanation="Nobody knows.")
    page = page_of([run, msgspec.structs.replace(run, broker="mine", results=[bad, other])])
    assert "| **mine** |" in page
    assert "✗ lost 1 \\| 2" in page
    assert "| – |" in page
    assert "- mine: What else? no. Nobody knows." in page


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"no json", "expected what `sidestream broker check --json` prints"),
        (b'{"broker": 1}', "expected what `sidestream broker check --json` prints"),
        (None, "expected what `sidestream broker check --json` prints"),
    ],
)
def test_a_file_that_holds_no_run_is_one_sentence(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "run.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="run.json") as raised:
        read_run(path)
    assert said in str(raised.value)


def test_a_run_of_another_form_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(read_run(RECORDED[0]), form=2)))
    with pytest.raises(ConfigurationError, match="expected form 1, found 2"):
        read_run(path)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "found 'nowhere'"),
        (["redis", "kafka"], "expected one broker, found redis, kafka"),
        (["redis", "--pid", "99999999"], "--pid 99999999: expected a process of yours"),
        (["redis", "--pid", "-1"], "--pid -1: expected the broker's process"),
        (["redis", "--pid", "1"], "--pid 1: expected the broker's process"),
        (["--write", "page.md"], "expected files of runs, found none"),
        (["kafka"], "expected the address of kafka, found none"),
    ],
)
def test_words_that_ask_for_nothing_possible_are_one_sentence(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SIDESTREAM_BROKER", raising=False)
    shutil.copytree(REPOSITORY / "components", tmp_path / "components")
    common = {"resourcesPath": "components", "configFilePath": "components/configuration.yaml"}
    ports = {"appPort": 1, "daprHTTPPort": 2, "daprGRPCPort": 3, "metricsPort": 4}
    app = {"appID": "one", "appDirPath": ".", "command": ["true"], **ports}
    (tmp_path / "dapr.yaml").write_text(yaml.safe_dump({"version": 1, "common": common, "apps": [app]}))
    file = [] if "--write" in words else ["-f", str(tmp_path / "dapr.yaml")]
    ended = CliRunner().invoke(broker_verbs, ["check", *words, *file])
    assert isinstance(ended.exception, ConfigurationError)
    assert said in str(ended.exception)


async def test_clearing_touches_only_what_a_check_has_made(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="only what a check has made"):
        await clear(tmp_path, "pubsub", ["sidestream-check-1-a", "votes"], [])


def test_a_run_is_bad_by_one_bad_answer() -> None:
    run = read_run(RECORDED[0])
    good = msgspec.structs.replace(run, results=[r for r in run.results if r.verdict != "bad"])
    assert not good.is_bad
    bad = Result(name="x", question="?", answer="no", verdict="bad", explanation="")
    assert msgspec.structs.replace(good, results=[*good.results, bad]).is_bad
    assert isinstance(good, Run)
