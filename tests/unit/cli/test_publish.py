import gzip
import json
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from sidestream.cli.importing import BridgeAway, Importer, Tally, _Lane
from sidestream.cli.ndjson import Line, NdjsonFile, Refused
from sidestream.cli.publish import app
from sidestream.errors import ConfigurationError
from sidestream.event import MAX_EVENT_BYTES
from tests.unit.cli.fake_bridge import Answer, FakeBridge


def an_event(number: int, **more: object) -> dict[str, object]:
    return {"specversion": "1.0", "id": f"e{number}", "source": "/test", "type": "tested", "subject": f"s-{number % 7}"} | more


def a_file(path: Path, *lines: object) -> str:
    file = path / "events.ndjson"
    file.write_bytes(b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines))
    return str(file)


def read(file: str) -> list[Line | Refused]:
    with NdjsonFile(file) as lines:
        return list(lines)


class Import:
    """One run of an importer over a file, and what it said."""

    def __init__(self, bridge: FakeBridge, file: str, batch: int = 10, patience: float = 5.0) -> None:
        self.refused: list[Refused] = []
        importer = Importer("http://bridge/", batch=batch, patience=patience, on_refused=self.refused.append, transport=bridge)
        self.tally: Tally = importer.tally
        with NdjsonFile(file) as lines:
            importer.run(lines, lambda: None)

    @property
    def refused_lines(self) -> dict[int, str]:
        return {each.line: each.reason for each in self.refused}


# ── the file ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{", "expected a CloudEvent as JSON"),
        (b"no json", "expected a CloudEvent as JSON"),
        (b"[]", "got `array`"),
        (b"7", "got `int`"),
        (b"null", "got `null`"),
        (b'{"specversion":"1.0","id":"1","source":"/a"}', "missing required field `type`"),
        (b'{"specversion":"1.0","id":"1","type":"a"}', "missing required field `source`"),
        (b'{"specversion":"1.0","source":"/a","type":"a"}', "missing required field `id`"),
        (b'{"id":"1","source":"/a","type":"a"}', "missing required field `specversion`"),
        (b'{"specversion":"1.0","id":1,"source":"/a","type":"a"}', "$.id"),
        (b'{"specversion":"1.0","id":"","source":"/a","type":""}', "expected id, type not to be empty"),
        (b'{"specversion":"0.3","id":"1","source":"/a","type":"a"}', "expected specversion 1.0, found '0.3'"),
        (b'{"specversion":"1.0","id":"\xff","source":"/a","type":"a"}', "expected UTF-8, found byte 0xff"),
        (rb'{"specversion":"1.0","id":"\ud800","source":"/a","type":"a"}', "surrogate"),
        (b'{"specversion":"1.0","id":"1","source":"/a","type":"a"} {}', "trailing"),
        (b'{"data":' + b"[" * 100_000, "recursion"),
    ],
)
def test_a_line_that_is_no_cloudevent_is_refused_with_its_reason(tmp_path: Path, line: bytes, said: str) -> None:
    found = read(a_file(tmp_path, an_event(1), line, an_event(2)))
    assert [type(each) for each in found] == [Line, Refused, Line]
    refused = found[1]
    assert isinstance(refused, Refused)
    assert refused.line == 2
    assert said in refused.reason


def test_a_line_of_exactly_the_limit_is_taken_and_a_longer_one_is_passed_over_without_being_held(tmp_path: Path) -> None:
    frame = len(json.dumps(an_event(1, data="")))
    fits = json.dumps(an_event(1, data="a" * (MAX_EVENT_BYTES - frame))).encode()
    assert len(fits) == MAX_EVENT_BYTES
    found = read(a_file(tmp_path, fits, fits[:-2] + b'a"}', b"a" * (MAX_EVENT_BYTES * 3), an_event(2)))
    assert [type(each) for each in found] == [Line, Refused, Refused, Line]


def test_empty_lines_are_passed_over_and_counted(tmp_path: Path) -> None:
    file = tmp_path / "events.ndjson"
    file.write_bytes(b"\n" + json.dumps(an_event(1)).encode() + b"\r\n  \n" + json.dumps(an_event(2)).encode())
    found = read(str(file))
    assert [each.number for each in found if isinstance(each, Line)] == [2, 4]


def test_an_empty_file_holds_nothing(tmp_path: Path) -> None:
    assert read(a_file(tmp_path)) == []


def test_a_gzipped_file_is_read_too_and_a_broken_one_is_said(tmp_path: Path) -> None:
    file = tmp_path / "events.ndjson.gz"
    file.write_bytes(gzip.compress(b"".join(json.dumps(an_event(at)).encode() + b"\n" for at in range(1000))))
    assert len(read(str(file))) == 1000
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(ConfigurationError, match="cannot be read on"):
        read(str(file))


@pytest.mark.parametrize("name", ["nowhere.ndjson", "."])
def test_a_file_that_cannot_be_opened_is_said(name: str) -> None:
    with pytest.raises(ConfigurationError, match="Check the name"):
        NdjsonFile(name)


# ── sending ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_event_is_stored_once_and_an_import_may_be_run_again(tmp_path: Path) -> None:
    bridge = FakeBridge()
    file = a_file(tmp_path, *(an_event(at) for at in range(250)))
    for _ in range(2):
        found = Import(bridge, file)
        assert (found.tally.read, found.tally.stored, found.tally.refused) == (250, 250, 0)
        assert len(bridge.stored) == 250
    assert len(bridge.order) == 250


def test_several_requests_are_in_flight_but_few(tmp_path: Path) -> None:
    meeting = threading.Barrier(2)
    met = threading.Event()

    def two_at_once(_: httpx.Request) -> None:
        if not met.is_set():
            meeting.wait(10)
            met.set()

    bridge = FakeBridge(two_at_once)
    Import(bridge, a_file(tmp_path, *(an_event(at) for at in range(500))))
    assert 2 <= bridge.most_at_once <= 4


def test_events_of_one_subject_stay_in_order_whatever_is_sent_again(tmp_path: Path) -> None:
    failing = Failing(every=3)
    bridge = FakeBridge(failing)
    Import(bridge, a_file(tmp_path, *(an_event(at, time=at) for at in range(150))), batch=5)
    for subject in {event["subject"] for event in bridge.order}:
        times = [event["time"] for event in bridge.order if event["subject"] == subject]
        assert times == sorted(times)
    assert failing.failed > 5


class Failing:
    """Fails every n-th request: at once, by a lost connection, or after it was stored."""

    def __init__(self, every: int) -> None:
        self.failed = 0
        self._every = every
        self._seen = 0

    def __call__(self, _: httpx.Request) -> httpx.Response | None:
        self._seen += 1
        if self._seen % self._every:
            return None
        self.failed += 1
        if self.failed % 2:
            raise httpx.ReadError("connection lost")
        return httpx.Response(503, json={"title": "Away", "detail": "the broker is full"}, headers={"retry-after": "0"})


class HandedOverLate(queue.Queue[list[Line]]):
    """The last batch is put and its lane ended at the very moment in which somebody has found nothing."""

    def __init__(self, last: list[Line], ended: threading.Event) -> None:
        super().__init__()
        self._last = last
        self._ended = ended

    def get(self, block: bool = True, timeout: float | None = None) -> list[Line]:
        if self._ended.is_set():
            return super().get(block, timeout)
        self.put(self._last)
        self._ended.set()
        raise queue.Empty


def test_a_last_batch_that_comes_while_its_lane_looks_for_one_is_sent(tmp_path: Path) -> None:
    last = [line for line in read(a_file(tmp_path, an_event(1), an_event(2))) if isinstance(line, Line)]
    bridge, ended = FakeBridge(), threading.Event()
    importer = Importer("http://bridge/", batch=10, patience=5.0, on_refused=lambda _: None, transport=bridge)
    importer._follow(_Lane(HandedOverLate(last, ended), ended))
    assert [event["id"] for event in bridge.order] == ["e1", "e2"]
    assert importer.tally.stored == 2


def test_an_answer_that_was_lost_doubles_nothing(tmp_path: Path) -> None:
    lost: list[bytes] = []

    def lose_the_first(request: httpx.Request) -> httpx.Response | None:
        if lost:
            return None
        lost.append(request.content)
        bridge._store(request)
        raise httpx.ReadTimeout("no answer")

    bridge = FakeBridge(lose_the_first)
    found = Import(bridge, a_file(tmp_path, *(an_event(at) for at in range(50))))
    assert (found.tally.stored, len(bridge.order)) == (50, 50)


def test_refused_events_are_named_and_all_others_go_in(tmp_path: Path) -> None:
    bridge = FakeBridge()
    Import(bridge, a_file(tmp_path, an_event(3)))
    lines: list[object] = [an_event(at) for at in range(60)]
    lines[3] = an_event(3, data="changed")
    lines[17] = an_event(17, data="bad")
    lines[40] = b"{broken"
    found = Import(bridge, a_file(tmp_path, *lines))
    assert {line: reason for line, reason in found.refused_lines.items() if line != 41} == {4: "id is taken", 18: "bad data"}
    assert set(found.refused_lines) == {4, 18, 41}
    assert (found.tally.read, found.tally.stored, found.tally.refused) == (60, 57, 3)
    assert len(bridge.stored) == 58


def test_a_file_of_which_all_is_refused_ends(tmp_path: Path) -> None:
    found = Import(FakeBridge(), a_file(tmp_path, *(an_event(at, data="bad") for at in range(30))))
    assert (found.tally.stored, found.tally.refused) == (0, 30)


@pytest.mark.parametrize("status", [400, 413])
def test_a_refusal_that_names_no_event_is_narrowed_down_to_it(tmp_path: Path, status: int) -> None:
    def too_large(request: httpx.Request) -> httpx.Response | None:
        return httpx.Response(status, json={"detail": "no"}) if b"large" in request.content else None

    lines: list[object] = [an_event(at) for at in range(40)]
    lines[23] = an_event(23, data="large")
    found = Import(FakeBridge(too_large), a_file(tmp_path, *lines))
    assert found.refused_lines == {24: "no"}
    assert found.tally.stored == 39


def test_batches_hold_no_more_bytes_than_the_bridge_takes(tmp_path: Path) -> None:
    sizes: list[int] = []
    bridge = FakeBridge(lambda request: sizes.append(len(request.content)))
    Import(bridge, a_file(tmp_path, *(an_event(at, subject="one", data="a" * 1_000_000) for at in range(9))), batch=500)
    assert max(sizes) < 4 * 1024 * 1024
    assert len(sizes) == 3


@pytest.mark.parametrize("errors", ["no list", [{"no": "index"}], [{"index": 99}], [{"index": -1}], [7]])
def test_a_bridge_that_speaks_nonsense_does_not_make_it_run_for_ever(tmp_path: Path, errors: object) -> None:
    bridge = FakeBridge(lambda _: httpx.Response(400, json={"detail": "no", "errors": errors}))
    assert Import(bridge, a_file(tmp_path, *(an_event(at) for at in range(20)))).tally.refused == 20


@pytest.mark.parametrize("answer", [httpx.Response(404), httpx.Response(401), httpx.Response(302), httpx.Response(200, text="<html>")])
def test_what_is_no_bridge_is_said(tmp_path: Path, answer: httpx.Response) -> None:
    bridge = FakeBridge(lambda _: httpx.Response(answer.status_code))
    with pytest.raises(BridgeAway, match=f"found {answer.status_code}.*--url"):
        Import(bridge, a_file(tmp_path, an_event(1)))


def test_patience_ends_when_the_bridge_stays_away(tmp_path: Path) -> None:
    bridge = FakeBridge(lambda _: httpx.Response(503, json={"detail": "the store is away"}))
    with pytest.raises(BridgeAway, match=r"the store is away.*run it again, nothing is doubled"):
        Import(bridge, a_file(tmp_path, *(an_event(at) for at in range(1000))), patience=0.3)


def test_retry_after_is_honoured(tmp_path: Path) -> None:
    bridge = FakeBridge(lambda _: httpx.Response(503, headers={"retry-after": "30"}))
    with pytest.raises(BridgeAway):
        Import(bridge, a_file(tmp_path, an_event(1)), patience=2.0)
    assert bridge.requests == 1, "it would have come again after the patience had ended"


# ── the verb, over a real connection ─────────────────────────────────────────────────────────────────────────────────


class Door(ThreadingHTTPServer):
    """The fake bridge behind a port."""

    daemon_threads = True

    def __init__(self, before: Answer = lambda request: None) -> None:
        self.bridge = FakeBridge(before)
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Door

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        answer = self.server.bridge.handle_request(httpx.Request("POST", self.path, content=body, headers=dict(self.headers.items())))
        self.send_response(answer.status_code)
        self.send_header("content-length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def door() -> Iterator[Door]:
    with Door() as door:
        yield door
        door.shutdown()


def run(*words: str) -> Any:
    return CliRunner().invoke(app, list(words))


def test_the_verb_ends_with_0_when_all_is_in(tmp_path: Path, door: Door) -> None:
    result = run(a_file(tmp_path, *(an_event(at) for at in range(1200))), "--url", door.url)
    assert result.exit_code == 0, result.output
    assert "1,200 lines read, 1,200 events stored or there already, 0 refused." in result.stdout
    assert result.stderr == ""
    assert len(door.bridge.stored) == 1200


def test_the_verb_ends_with_1_and_names_the_lines_that_were_refused(tmp_path: Path, door: Door) -> None:
    result = run(a_file(tmp_path, an_event(1), b"nonsense", an_event(2, data="bad")), "--url", door.url)
    assert result.exit_code == 1
    assert "line 2: expected a CloudEvent" in result.stderr
    assert "line 3: bad data" in result.stderr
    assert "1 events stored" in result.stdout


def test_with_json_every_line_of_output_is_json(tmp_path: Path, door: Door) -> None:
    result = run(a_file(tmp_path, an_event(1), b"nonsense", an_event(2, data="bad")), "--url", door.url, "--json")
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert sorted(each["line"] for each in found[:-1]) == [2, 3]
    assert found[-1] == {"read": 3, "stored": 1, "refused": 2}


def test_events_may_come_from_standard_input(door: Door) -> None:
    given = b"".join(json.dumps(an_event(at)).encode() + b"\n" for at in range(20))
    command = [sys.executable, "-c", "from sidestream.cli.publish import app; app()", "-", "--url", door.url]
    for each in (given, gzip.compress(given)):
        assert subprocess.run(command, input=each, capture_output=True, check=False).returncode == 0
    assert len(door.bridge.order) == 20


def test_the_verb_cannot_without_a_bridge_or_a_file(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        result = run(a_file(tmp_path, an_event(1)), "--url", f"http://127.0.0.1:{taken.getsockname()[1]}", "--patience", "0.1")
    assert isinstance(result.exception, BridgeAway), "which `sidestream` turns into a sentence and exit code 2"
    assert isinstance(run("nowhere.ndjson").exception, ConfigurationError)
    assert run().exit_code == 2
    assert run(a_file(tmp_path), "--batch", "0").exit_code == 2
    assert isinstance(run(a_file(tmp_path, an_event(1)), "--url", "no url").exception, ConfigurationError)
