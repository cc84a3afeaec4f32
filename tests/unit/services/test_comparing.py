"""What has happened to files: given what is known, when these files are found, then these events."""

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from events.assets import AssetChanged, AssetDeleted, AssetDiscovered, AssetEvent, AssetMoved
from services.assets.comparing import CLOCK_GRAIN_NS, Comparison, Listed, ReadFile, survey
from services.assets.inventory import KnownFile

LONG_AGO = 10**18
SEEN = LONG_AGO + 3600 * 10**9


def digest(content: str) -> str:
    return sha256(content.encode()).hexdigest()


def known(path: str, content: str, modified_ns: int = LONG_AGO, seen_ns: int = SEEN) -> KnownFile:
    return KnownFile(f"asset-{path}", path, len(content), modified_ns, digest(content), seen_ns)


def found(path: str, content: str, modified_ns: int = LONG_AGO) -> ReadFile:
    return ReadFile(path, len(content), modified_ns, digest(content), "text/plain")


class Given:
    """What is known."""

    def __init__(self, *files: KnownFile) -> None:
        self._known = {file.path: file for file in files}

    def when(self, *files: ReadFile, is_missed: Callable[[str], bool] = lambda _: True) -> "Then":
        listed = {file.path: Listed(file.size, file.modified_ns) for file in files}
        by_path = {file.path: file for file in files}
        looked = survey(self._known, listed, is_missed)
        numbers = count(1)
        comparison = Comparison(looked, "s", lambda: f"new{next(numbers)}")
        decided = [decision for path in looked.to_read if (decision := comparison.decide(by_path[path])) is not None]
        return Then([(each.stream, each.event) for each in (*decided, *comparison.deletions())], looked.to_read)


class Then:
    """What was decided."""

    def __init__(self, events: list[tuple[str, AssetEvent]], read: Sequence[str]) -> None:
        self.events = events
        self.read = read

    def then(self, *events: tuple[str, AssetEvent]) -> None:
        assert self.events == list(events)


def discovered(path: str, content: str, modified_ns: int = LONG_AGO) -> AssetDiscovered:
    return AssetDiscovered(path, len(content), modified_ns, "text/plain", digest(content), "s")


def changed(path: str, content: str, modified_ns: int = LONG_AGO) -> AssetChanged:
    return AssetChanged(path, len(content), modified_ns, "text/plain", digest(content), "s")


def moved(before: str, after: str, content: str, modified_ns: int = LONG_AGO) -> AssetMoved:
    return AssetMoved(before, after, len(content), modified_ns, "text/plain", digest(content), "s")


def deleted(path: str, content: str) -> AssetDeleted:
    return AssetDeleted(path, len(content), digest(content), "s")


def test_a_new_file_is_discovered_as_a_new_asset() -> None:
    Given().when(found("/a", "x")).then(("asset-new1", discovered("/a", "x")))


def test_a_file_as_known_is_not_even_read() -> None:
    assert Given(known("/a", "x")).when(found("/a", "x")).read == ()


def test_another_size_is_a_change() -> None:
    Given(known("/a", "x")).when(found("/a", "xy")).then(("asset-/a", changed("/a", "xy")))


def test_another_time_is_a_change_even_with_the_same_content() -> None:
    later = LONG_AGO + 1
    Given(known("/a", "x")).when(found("/a", "x", later)).then(("asset-/a", changed("/a", "x", later)))


def test_a_file_modified_just_before_it_was_seen_is_read_again() -> None:
    just_before = SEEN - CLOCK_GRAIN_NS
    given_file = Given(known("/a", "x", just_before))

    given_file.when(found("/a", "y", just_before)).then(("asset-/a", changed("/a", "y", just_before)))
    given_file.when(found("/a", "x", just_before)).then()


def test_a_file_that_is_gone_is_deleted() -> None:
    Given(known("/a", "x")).when().then(("asset-/a", deleted("/a", "x")))


def test_a_file_that_could_not_be_looked_at_is_not_deleted() -> None:
    Given(known("/a", "x")).when(is_missed=lambda _: False).then()


def test_the_same_content_at_a_new_path_is_a_move() -> None:
    Given(known("/a", "x")).when(found("/b", "x")).then(("asset-/a", moved("/a", "/b", "x")))


def test_a_copy_is_no_move() -> None:
    Given(known("/a", "x")).when(found("/a", "x"), found("/b", "x")).then(("asset-new1", discovered("/b", "x")))


def test_a_file_overwritten_by_a_move_is_a_change_and_a_deletion() -> None:
    later = LONG_AGO + 1
    Given(known("/a", "x"), known("/b", "y", later)).when(found("/a", "y", later)).then(
        ("asset-/a", changed("/a", "y", later)), ("asset-/b", deleted("/b", "y"))
    )


def test_of_several_candidates_the_one_with_the_same_name_has_moved() -> None:
    Given(known("/old/a", "x"), known("/old/b", "x")).when(found("/new/b", "x")).then(
        ("asset-/old/b", moved("/old/b", "/new/b", "x")), ("asset-/old/a", deleted("/old/a", "x"))
    )


def test_of_several_candidates_without_the_name_the_first_by_path_has_moved() -> None:
    Given(known("/q", "x"), known("/p", "x")).when(found("/r", "x")).then(
        ("asset-/p", moved("/p", "/r", "x")), ("asset-/q", deleted("/q", "x"))
    )


def test_a_renamed_directory_keeps_every_asset() -> None:
    then = Given(*(known(f"/old/{name}", "") for name in "abc")).when(*(found(f"/new/{name}", "") for name in "abc"))

    then.then(*((f"asset-/old/{name}", moved(f"/old/{name}", f"/new/{name}", "")) for name in "abc"))


def test_deletions_come_last() -> None:
    then = Given(known("/a", "x")).when(found("/b", "y"))

    assert [type(event) for _, event in then.events] == [AssetDiscovered, AssetDeleted]


# ── whatever the trees are ───────────────────────────────────────────────────────────────────────────────────────────

trees = st.dictionaries(st.sampled_from([f"/{name}" for name in "abcdef"]), st.sampled_from(["", "x", "y", "zz"]), max_size=6)


@given(trees, trees)
def test_the_events_turn_what_was_known_into_what_was_found(before: Mapping[str, str], after: Mapping[str, str]) -> None:
    files = [found(path, content, LONG_AGO + (before.get(path) != content)) for path, content in after.items()]
    then = Given(*(known(path, content) for path, content in before.items())).when(*files)

    state = {f"asset-{path}": (path, digest(content)) for path, content in before.items()}
    for stream, event in then.events:
        if isinstance(event, AssetDeleted):
            del state[stream]
        elif isinstance(event, AssetDiscovered | AssetChanged):
            assert (stream in state) == isinstance(event, AssetChanged)
            state[stream] = (event.path, event.sha256)
        elif isinstance(event, AssetMoved):
            assert state[stream] == (event.from_path, event.sha256)
            state[stream] = (event.to_path, event.sha256)

    assert sorted(state.values()) == sorted((path, digest(content)) for path, content in after.items())


@given(trees, trees)
def test_no_asset_is_deleted_while_a_new_one_has_its_content(before: Mapping[str, str], after: Mapping[str, str]) -> None:
    then = Given(*(known(path, content) for path, content in before.items())).when(
        *(found(path, content, LONG_AGO + (before.get(path) != content)) for path, content in after.items())
    )

    lost = {event.sha256 for _, event in then.events if isinstance(event, AssetDeleted)}
    new = {event.sha256 for _, event in then.events if isinstance(event, AssetDiscovered)}
    assert not lost & new
