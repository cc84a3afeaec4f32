"""Names of streams, categories, topics and slots.

A stream `order-7f3a` holds the events of one aggregate; the word before the first dash, `order`, is its category.
A category is published to one topic, or to N slots of it. This module knows names only, no I/O.
"""

from zlib import crc32

from sidestream.errors import InvalidEvent


def stream_name(category: str, identifier: str) -> str:
    """Return the stream of one aggregate, `order-7f3a`.

    Raises:
        InvalidEvent: the category is empty or contains a dash, or the identifier is empty.
    """
    if not category or "-" in category or not identifier:
        raise InvalidEvent(f"stream name: expected a category without a dash and an identifier, found {category!r}, {identifier!r}")
    return f"{category}-{identifier}"


def slot_of(subject: str, slots: int) -> int:
    """Return the slot, 0 to `slots - 1`, of a subject: CRC-32 of its UTF-8 bytes modulo the number of slots."""
    return crc32(subject.encode()) % slots


def topics_of(topic: str, slots: int) -> tuple[str, ...]:
    """Return every topic a category is published to: `orders`, or `orders.0` to `orders.N-1`."""
    if slots == 1:
        return (topic,)
    return tuple(f"{topic}.{slot}" for slot in range(slots))


def topic_for(topic: str, subject: str, slots: int) -> str:
    """Return the one topic that events of this subject are published to."""
    if slots == 1:
        return topic
    return f"{topic}.{slot_of(subject, slots)}"
