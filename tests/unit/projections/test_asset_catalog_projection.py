"""The asset catalogue's rule: what is on disk now, and sums that always say the same as adding up the assets."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given

import events
from events.assets import AssetChanged, AssetDeleted, AssetDiscovered, AssetMoved, AssetTagged, AssetUntagged, asset_stream
from projections.asset_catalog.projection import (
    ASSETS,
    DUPLICATES,
    EVERYTHING,
    SUMMARY,
    TAGS,
    TYPES,
    Asset,
    AssetCatalog,
    Content,
    Duplicate,
    Summary,
    TaggedAsset,
    TagTotal,
    TypeTotal,
    sum_text,
)
from sidestream.testing import Happened, ProjectionSpecification, happened, stranger

REGISTRY = events.registry()
PYTHON, TEXT = "text/x-python", "text/plain"


def catalog() -> ProjectionSpecification:
    return ProjectionSpecification(AssetCatalog(), REGISTRY)


def on(asset: str, event: msgspec.Struct) -> Happened:
    return happened(event, subject=asset_stream(asset))


def discovered(asset: str, path: str, size: int = 10, sha256: str = "aa", media_type: str = PYTHON) -> Happened:
    return on(asset, AssetDiscovered(path, size, 1, media_type, sha256, "scan-1"))


def changed(asset: str, path: str, size: int, sha256: str, media_type: str = PYTHON) -> Happened:
    return on(asset, AssetChanged(path, size, 2, media_type, sha256, "scan-2"))


def moved(asset: str, path: str, to_path: str, size: int = 10, sha256: str = "aa", media_type: str = PYTHON) -> Happened:
    return on(asset, AssetMoved(path, to_path, size, 3, media_type, sha256, "scan-2"))


def deleted(asset: str, path: str, size: int = 10, sha256: str = "aa") -> Happened:
    return on(asset, AssetDeleted(path, size, sha256, "scan-2"))


def model_of(assets: Iterable[Asset]) -> list[msgspec.Struct]:
    """Every row there must be, worked out from the assets alone."""
    assets = list(assets)
    types: defaultdict[str, list[int]] = defaultdict(list)
    contents: Counter[tuple[str, int]] = Counter()
    tags: Counter[str] = Counter()
    rows: list[msgspec.Struct] = list(assets)
    for asset in assets:
        types[asset.media_type].append(asset.size)
        contents[asset.sha256, asset.size] += 1
        for tag in msgspec.json.decode(asset.tags):
            tags[tag] += 1
            rows.append(TaggedAsset(tag, asset.id, asset.path, asset.size, asset.media_type, asset.sha256))
    several = {content: copies for content, copies in contents.items() if copies > 1}
    wasted = sum(size * (copies - 1) for (_, size), copies in several.items())
    rows += [TypeTotal(media_type, len(sizes), sum_text(sum(sizes))) for media_type, sizes in types.items()]
    rows += [Content(sha256, size, copies) for (sha256, size), copies in contents.items()]
    rows += [Duplicate(sha256, size, copies, sum_text(size * (copies - 1))) for (sha256, size), copies in several.items()]
    rows += [TagTotal(tag, count) for tag, count in tags.items()]
    if assets:
        rows.append(Summary(EVERYTHING, len(assets), sum_text(sum(asset.size for asset in assets)), len(several), sum_text(wasted)))
    return rows


def test_a_discovered_file_is_an_asset() -> None:
    catalog().when(discovered("1", "/a.py")).then(
        Asset("1", "/a.py", 10, 1, PYTHON, "aa"),
        TypeTotal(PYTHON, 1, sum_text(10)),
        Content("aa", 10, 1),
        Summary(EVERYTHING, 1, sum_text(10), 0, sum_text(0)),
    )


def test_two_files_with_one_content_are_duplicates() -> None:
    catalog().when(discovered("1", "/a.py"), discovered("2", "/b.py")).then_in(DUPLICATES, Duplicate("aa", 10, 2, sum_text(10)))


def test_a_changed_file_leaves_its_old_content() -> None:
    history = catalog().given(discovered("1", "/a.py"), discovered("2", "/b.py"))
    history.when(changed("1", "/a.py", 7, "bb", TEXT)).then(
        *model_of([Asset("1", "/a.py", 7, 2, TEXT, "bb"), Asset("2", "/b.py", 10, 1, PYTHON, "aa")])
    )


def test_a_moved_file_keeps_its_tags() -> None:
    history = catalog().given(discovered("1", "/a.py"), on("1", AssetTagged("new")))
    history.when(moved("1", "/a.py", "/b.txt", media_type=TEXT)).then(*model_of([Asset("1", "/b.txt", 10, 3, TEXT, "aa", '["new"]')]))


def test_a_deleted_file_leaves_nothing_behind() -> None:
    catalog().given(discovered("1", "/a.py"), on("1", AssetTagged("new"))).when(deleted("1", "/a.py")).then()


def test_tags_come_and_go() -> None:
    history = catalog().given(discovered("1", "/a.py"), on("1", AssetTagged("b")), on("1", AssetTagged("a")), on("1", AssetTagged("a")))
    history.then_in(TAGS, TagTotal("a", 1), TagTotal("b", 1))
    history.when(on("1", AssetUntagged("b")), on("1", AssetUntagged("c"))).then(
        *model_of([Asset("1", "/a.py", 10, 1, PYTHON, "aa", '["a"]')])
    )


def test_events_of_an_asset_that_is_not_there_change_nothing() -> None:
    catalog().given(discovered("1", "/a"), deleted("1", "/a")).when(
        on("1", AssetTagged("x")), on("1", AssetUntagged("x")), deleted("1", "/a")
    ).then()


def test_sizes_beyond_2_to_the_53_and_sums_beyond_2_to_the_63_are_exact() -> None:
    largest = 2**63 - 1
    history = catalog().when(discovered("1", "/a", 2**53 + 1), discovered("2", "/b", largest, "bb"), discovered("3", "/c", largest, "bb"))
    history.then_in(SUMMARY, Summary(EVERYTHING, 3, sum_text(2**53 + 1 + 2 * largest), 1, sum_text(largest)))
    history.then_in(TYPES, TypeTotal(PYTHON, 3, sum_text(2**53 + 1 + 2 * largest)))


def test_one_hash_under_two_sizes_is_two_contents() -> None:
    catalog().when(discovered("1", "/a", 10), discovered("2", "/b", 11)).then(
        *model_of([Asset("1", "/a", 10, 1, PYTHON, "aa"), Asset("2", "/b", 11, 1, PYTHON, "aa")])
    )


@pytest.mark.parametrize("size", [-1, 2**63])
def test_a_size_that_no_file_has_is_parked(size: int) -> None:
    catalog().when(discovered("1", "/a", size)).then_parked("e-001")


@pytest.mark.parametrize("subject", ["", '"subject":"file-1",', '"subject":"asset-",'])
def test_an_event_of_no_asset_is_parked(subject: str) -> None:
    data = '{"path":"/a","size":1,"modified_ns":1,"media_type":"","sha256":"","scan":""}'
    wire = f'{{"specversion":"1.0","id":"x","source":"/s",{subject}"type":"asset.discovered","data":{data}}}'
    catalog().when(stranger("assets", wire.encode())).then_parked("x")


# ── random histories: what is written by the rule is what adding up gives ────────────────────────────────────────────

sizes = st.sampled_from([0, 1, 2**53 + 1])
hashes = st.sampled_from(["aa", "bb"])
media_types = st.sampled_from([PYTHON, TEXT])
tags = st.sampled_from(["x", "y", "ü"])
contents = st.tuples(sizes, hashes, media_types)
steps = st.one_of(
    st.tuples(st.just("changed"), contents),
    st.tuples(st.just("moved"), media_types),
    st.tuples(st.just("tagged"), tags),
    st.tuples(st.just("untagged"), tags),
    st.tuples(st.just("deleted"), st.none()),
)
lives = st.lists(st.tuples(contents, st.lists(steps, max_size=6)), max_size=5)


def live(number: int, first: tuple[int, str, str], steps: list[tuple[str, Any]]) -> tuple[list[Happened], Asset | None]:
    """The events of one asset's life, and what is left of it, worked out without the rule."""
    name, path, (size, sha256, media_type) = f"{number}", f"/{number}", first
    history, row = [discovered(name, path, size, sha256, media_type)], {"modified": 1}
    mine: set[str] = set()
    for at, (word, value) in enumerate(steps):
        match word:
            case "changed":
                size, sha256, media_type = value
                row["modified"] = 2
                history.append(changed(name, path, size, sha256, media_type))
            case "moved":
                before, path, media_type = path, f"/{number}/{at}", value
                row["modified"] = 3
                history.append(moved(name, before, path, size, sha256, media_type))
            case "tagged":
                mine.add(value)
                history.append(on(name, AssetTagged(value)))
            case "untagged":
                mine.discard(value)
                history.append(on(name, AssetUntagged(value)))
            case _:
                return [*history, deleted(name, path, size, sha256)], None
    tags_text = msgspec.json.encode(sorted(mine)).decode()
    return history, Asset(name, path, size, row["modified"], media_type, sha256, tags_text)


@given(lives=lives, times=st.integers(1, 2), seed=st.integers(0, 10_000))
def test_random_lives_of_assets_interleaved_at_random_add_up(lives: list[Any], times: int, seed: int) -> None:
    lived = [live(number, first, steps) for number, (first, steps) in enumerate(lives)]
    history = [event for events_of_one, _ in lived for event in events_of_one]
    left = [asset for _, asset in lived if asset is not None]
    catalog().when(*history).delivered(times=times).shuffled(seed).then(*model_of(left))


def test_the_model_worked_out_by_hand_is_about_the_same_tables() -> None:
    assert {ASSETS, DUPLICATES, SUMMARY, TAGS, TYPES} < set(AssetCatalog.tables)
