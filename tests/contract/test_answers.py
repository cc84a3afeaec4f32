"""Every event store answers a command once: claims, answers stored with their events, and what a dead process leaves behind."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sidestream.adapters.sqlite_events import SqliteEventStore
from sidestream.errors import AlreadyAnswered, CommandRunning, ConfigurationError, InvalidEvent, KeyReused, WrongExpectedVersion
from sidestream.ports import Answer, ServiceStore
from tests.contract.stores import ADAPTERS, SHARED, event, facts, open_store, to
from tests.waiting import until

REQUEST, OTHER_REQUEST = b"r" * 16, b"o" * 16
LATER_MS = 2**52


@pytest.fixture(params=ADAPTERS)
def store(request: pytest.FixtureRequest) -> Iterator[ServiceStore]:
    made = open_store(request.param, request)
    yield made
    made.close()


def answer(content: bytes = b"201 order-1", key: str = "orders 7", request: bytes = REQUEST) -> Answer:
    return Answer(key, request, content)


def claimable(store: ServiceStore, key: str = "orders 7", request: bytes = REQUEST) -> Callable[[], bool]:
    def claimed() -> bool:
        try:
            return store.claim(key, request, 60) is None
        except (CommandRunning, KeyReused):
            return False

    return claimed


# ── one command ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_finished_command_is_answered_again_with_the_same_bytes(store: ServiceStore) -> None:
    given = answer(b"\x00\xff {}")
    assert store.claim(given.key, REQUEST, 60) is None
    store.append([to("order-1", event("order-1"))], given)
    assert store.claim(given.key, REQUEST, 60) == store.claim(given.key, REQUEST, 60) == given


def test_a_command_without_events_is_answered_too(store: ServiceStore) -> None:
    assert store.append([], answer()) == ()
    assert store.claim("orders 7", REQUEST, 60) == answer()


def test_a_running_command_is_not_begun_twice(store: ServiceStore) -> None:
    store.claim("orders 7", REQUEST, 60)
    with pytest.raises(CommandRunning, match="orders 7: the command has begun"):
        store.claim("orders 7", REQUEST, 60)
    assert store.claim("orders 8", REQUEST, 60) is None


def test_a_refused_command_may_be_tried_again(store: ServiceStore) -> None:
    store.claim("orders 7", REQUEST, 60)
    store.release("orders 7")
    store.release("never claimed")
    assert store.claim("orders 7", REQUEST, 60) is None


def test_a_release_leaves_an_answer_as_it_is(store: ServiceStore) -> None:
    store.append([], answer())
    store.release("orders 7")
    assert store.claim("orders 7", REQUEST, 60) == answer()


async def test_the_claim_of_a_dead_process_ends_by_its_time(store: ServiceStore) -> None:
    store.claim("orders 7", REQUEST, 0.05)
    await until(claimable(store))
    with pytest.raises(CommandRunning):
        store.claim("orders 7", REQUEST, 60)


# ── a key for another request ────────────────────────────────────────────────────────────────────────────────────────


def test_a_key_that_was_answered_serves_no_other_request(store: ServiceStore) -> None:
    store.append([], answer())
    with pytest.raises(KeyReused, match="Take a new key"):
        store.claim("orders 7", OTHER_REQUEST, 60)
    with pytest.raises(KeyReused):
        store.append([facts(event("x"))], answer(request=OTHER_REQUEST))
    assert store.follow(0) == ()


def test_a_key_that_is_claimed_serves_no_other_request(store: ServiceStore) -> None:
    store.claim("orders 7", REQUEST, 60)
    with pytest.raises(KeyReused):
        store.claim("orders 7", OTHER_REQUEST, 60)
    with pytest.raises(KeyReused):
        store.append([facts(event("x"))], answer(request=OTHER_REQUEST))
    assert store.follow(0) == ()


async def test_who_comes_back_after_his_claim_ran_out_and_the_key_was_given_away_is_refused(store: ServiceStore) -> None:
    store.claim("orders 7", REQUEST, 0.05)
    await until(claimable(store, request=OTHER_REQUEST))
    with pytest.raises(KeyReused):
        store.append([facts(event("x"))], answer())
    store.append([], answer(request=OTHER_REQUEST))
    assert store.follow(0) == ()


# ── the answer and its events ────────────────────────────────────────────────────────────────────────────────────────


def test_an_answer_that_was_given_meanwhile_is_handed_over_and_nothing_is_stored(store: ServiceStore) -> None:
    store.append([facts(event("x"))], answer(b"first"))
    with pytest.raises(AlreadyAnswered, match="Take that answer") as caught:
        store.append([facts(event("x"))], answer(b"second"))
    assert (caught.value.content, len(store.follow(0))) == (b"first", 1)


def test_that_it_was_answered_is_said_before_that_the_stream_has_gone_on(store: ServiceStore) -> None:
    command = [to("order-1", event("order-1"), expected=0)]
    store.append(command, answer())
    with pytest.raises(AlreadyAnswered):
        store.append([to("order-1", event("order-1"), expected=0)], answer())


def test_a_refused_append_leaves_no_answer_and_its_claim_as_it_was(store: ServiceStore) -> None:
    store.claim("orders 7", REQUEST, 60)
    with pytest.raises(WrongExpectedVersion):
        store.append([to("order-1", event("order-1"), expected=3)], answer())
    with pytest.raises(CommandRunning):
        store.claim("orders 7", REQUEST, 60)
    store.append([to("order-1", event("order-1"), expected=0)], answer())


def test_of_many_that_answer_at_once_one_is_heard_and_the_others_hear_it(store: ServiceStore) -> None:
    def carry_out(number: int) -> bytes:
        content = b"%d" % number
        try:
            store.append([facts(event("x"))], answer(content))
        except AlreadyAnswered as error:
            return error.content
        return content

    with ThreadPoolExecutor(16) as pool:
        heard = set(pool.map(carry_out, range(48)))
    assert (len(heard), len(store.follow(0))) == (1, 1)


def test_of_many_that_claim_at_once_one_carries_out(store: ServiceStore) -> None:
    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(lambda _: claimable(store)(), range(48))) == 1


def test_an_answer_beside_others_is_refused_for_itself(store: ServiceStore) -> None:
    store.append([], answer())

    def append(number: int) -> bool:
        try:
            store.append([facts(event("x"))], answer() if number % 3 == 0 else answer(key=f"orders new {number}"))
        except AlreadyAnswered:
            return False
        return True

    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(append, range(60))) == [number % 3 != 0 for number in range(60)]
    assert [e.sequence for e in store.follow(0)] == list(range(1, 41))


# ── forgetting ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_answers_are_forgotten_by_their_age(store: ServiceStore) -> None:
    store.append([facts(event("x"))], answer(key="old"))
    (old,) = store.follow(0)
    await until(lambda: store.append([facts(event("tick"))])[0].recorded_ms > old.recorded_ms + 1)
    store.append([], answer(key="new"))
    assert (store.forget_answers(old.recorded_ms), store.forget_answers(old.recorded_ms + 2)) == (0, 1)
    assert (store.claim("old", OTHER_REQUEST, 60), store.claim("new", REQUEST, 60)) == (None, answer(key="new"))


def test_all_answers_are_forgotten_however_many_there_are(store: ServiceStore) -> None:
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: store.append([], answer(key=f"orders {number}")), range(2_100)))
    assert (store.forget_answers(LATER_MS), store.forget_answers(LATER_MS)) == (2_100, 0)


def test_a_running_command_is_not_forgotten(store: ServiceStore) -> None:
    store.claim("orders 7", REQUEST, 60)
    assert store.forget_answers(LATER_MS) == 0
    with pytest.raises(CommandRunning):
        store.claim("orders 7", REQUEST, 60)


# ── bad input ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("key", "request_digest"),
    [("", REQUEST), ("x" * 513, REQUEST), ("é" * 257, REQUEST), ("\ud800", REQUEST), ("orders 7", b""), ("orders 7", b"r" * 17)],
    ids=["empty", "long", "long in bytes", "no Unicode", "no digest", "long digest"],
)
def test_a_key_that_cannot_be_kept_is_refused(store: ServiceStore, key: str, request_digest: bytes) -> None:
    with pytest.raises(InvalidEvent, match="idempotency key"):
        store.claim(key, request_digest, 60)
    with pytest.raises(InvalidEvent, match="idempotency key"):
        store.append([facts(event("x"))], Answer(key, request_digest, b""))
    assert store.follow(0) == ()


@pytest.mark.parametrize("key", ["nul \0 inside", "🗳️", "'; DROP TABLE answers; --", " ", "x" * 512])
def test_any_other_text_may_be_a_key(store: ServiceStore, key: str) -> None:
    store.append([], answer(key=key))
    assert (store.claim(key, REQUEST, 60), store.claim(key[:-1] + "y", REQUEST, 60)) == (answer(key=key), None)


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
def test_a_claim_takes_time(store: ServiceStore, seconds: float) -> None:
    with pytest.raises(ConfigurationError, match="expected a number of seconds"):
        store.claim("orders 7", REQUEST, seconds)
    assert store.claim("orders 7", OTHER_REQUEST, 60) is None


@pytest.mark.parametrize("adapter", SHARED)
def test_claims_and_answers_hold_for_every_process(adapter: str, request: pytest.FixtureRequest) -> None:
    first, second = open_store(adapter, request), open_store(adapter, request)
    first.claim("orders 7", REQUEST, 60)
    with pytest.raises(CommandRunning):
        second.claim("orders 7", REQUEST, 60)
    first.append([facts(event("x"))], answer())
    assert second.claim("orders 7", REQUEST, 60) == answer()
    with pytest.raises(AlreadyAnswered):
        second.append([facts(event("x"))], answer(b"later"))
    first.close()
    second.close()


def test_a_command_killed_before_its_answer_ends_by_its_time(tmp_path: Path) -> None:
    now = [1_000_000]
    store = SqliteEventStore(tmp_path / "store.sqlite", clock_ms=lambda: now[0])
    killed = "from sidestream.adapters.sqlite_events import SqliteEventStore\nimport os, sys\n"
    killed += "SqliteEventStore(sys.argv[1], clock_ms=lambda: 1_000_000).claim('orders 7', b'r' * 16, 30)\nos.kill(os.getpid(), 9)\n"
    subprocess.run([sys.executable, "-c", killed, str(tmp_path / "store.sqlite")], cwd=Path(__file__).parents[2], check=False, timeout=60)
    with pytest.raises(CommandRunning):
        store.claim("orders 7", b"r" * 16, 30)
    now[0] += 30_000
    assert store.claim("orders 7", b"r" * 16, 30) is None
    store.close()
