"""How many events stand behind a later one: the measure of order, in a log or among deliveries."""

from collections import defaultdict
from collections.abc import Hashable, Iterable


def out_of_place(numbers: Iterable[int]) -> int:
    """Return how many first occurrences come after a greater number; repeats count for nothing."""
    greatest, seen, found = -1, set[int](), 0
    for number in numbers:
        if number in seen:
            continue
        seen.add(number)
        found += number < greatest
        greatest = max(greatest, number)
    return found


def out_of_place_by_key(pairs: Iterable[tuple[Hashable, int]]) -> int:
    """Return the same for each key by itself, added up."""
    by_key: dict[Hashable, list[int]] = defaultdict(list)
    for key, number in pairs:
        by_key[key].append(number)
    return sum(out_of_place(numbers) for numbers in by_key.values())


def repeats(numbers: Iterable[int]) -> int:
    """Return how many numbers come a second time or oftener."""
    listed = list(numbers)
    return len(listed) - len(set(listed))
